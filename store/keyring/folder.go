package keyring

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/internal/lockedfile"
)

// The names in the folder. Those of the store have no leading dot and another
// end than records, so that no id can collide with them.
const (
	metaName  = "store.json"
	lockName  = "store.lock"
	recordEnd = ".grant"
	lockEnd   = ".lock"
	seenEnd   = ".seen"
)

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Store) recordPath(stem string) string { return s.path(stem + recordEnd) }

func (s *Store) side(stem, end string) string { return s.path("." + stem + end) }

// A longer name is cut: with its side files' ends and the mark of a temporary
// file it stays below the 143 bytes that the strictest file systems allow.
const (
	longestStem = 110
	keptOfStem  = 60
	cutMark     = "~"
	idHashBytes = 20
)

// stemOf is the NAME of an id.
func stemOf(id string) string {
	var b strings.Builder
	for i := range len(id) {
		if isPlain(id[i]) && (i > 0 || id[0] != '.' && !isDevice(id)) {
			b.WriteByte(id[i])
		} else {
			fmt.Fprintf(&b, "%%%02x", id[i])
		}
	}
	stem := b.String()
	if len(stem) <= longestStem {
		return stem
	}
	kept := stem[:keptOfStem]
	if i := strings.LastIndexByte(kept, '%'); i > keptOfStem-3 {
		kept = kept[:i]
	}
	sum := sha256.Sum256([]byte(id))
	return kept + cutMark + hex.EncodeToString(sum[:idHashBytes])
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-_.@+", c) >= 0
}

// isDevice tells the names that Windows keeps for devices, with any ending.
func isDevice(id string) bool {
	name, _, _ := strings.Cut(id, ".")
	switch name {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(name) == 4 && (name[:3] == "com" || name[:3] == "lpt") && '0' <= name[3] && name[3] <= '9'
}

// idOf is the id that a NAME stands for; false where it was cut, and for a name
// that stemOf does not make.
func idOf(stem string) (string, bool) {
	var id []byte
	for i := 0; i < len(stem); i++ {
		if stem[i] != '%' {
			id = append(id, stem[i])
			continue
		}
		c, err := hex.DecodeString(stem[i+1 : min(i+3, len(stem))])
		if err != nil || len(c) != 1 {
			return "", false
		}
		id = append(id, c[0])
		i += 2
	}
	return string(id), stemOf(string(id)) == stem
}

// name is a record's file and the id it is listed under.
type name struct{ id, stem string }

// names lists the records in order of their ids, and the files whose name does
// not tell and that cannot be opened.
func (s *Store) names(ctx context.Context) (all []name, errs []error) {
	stems, err := s.stems()
	if err != nil {
		return nil, []error{err}
	}
	if len(stems) == 0 {
		return nil, nil
	}
	if err := s.Unlock(ctx); err != nil {
		return nil, []error{err}
	}
	for _, stem := range stems {
		id, ok := idOf(stem)
		if !ok {
			e, err := s.read(ctx, stem)
			if err != nil {
				errs = append(errs, err)
			}
			if e == nil {
				continue
			}
			id = e.record.ID
		}
		all = append(all, name{id, stem})
	}
	slices.SortFunc(all, func(a, b name) int { return cmp.Compare(a.id, b.id) })
	return all, errs
}

// stems lists the records' files; none where there is no folder.
func (s *Store) stems() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the store: %w", err)
	}
	var stems []string
	for _, e := range entries {
		if stem, ok := strings.CutSuffix(e.Name(), recordEnd); ok && stem != "" && stem[0] != '.' {
			stems = append(stems, stem)
		}
	}
	return stems, nil
}

// makeFolder creates the folder durably and refuses one in which others may
// put files.
func (s *Store) makeFolder() error {
	if err := lockedfile.MakeDirectory(s.dir); err != nil {
		return fmt.Errorf("creating the folder of the store: %w", err)
	}
	fi, err := os.Stat(s.dir)
	if err != nil {
		return fmt.Errorf("opening the folder of the store: %w", err)
	}
	if hasModes && fi.Mode().Perm()&0o022 != 0 {
		return &Error{Path: s.dir, Says: "others may write in the folder " + s.dir, Do: "run: chmod go-w " + s.dir, Err: fs.ErrPermission}
	}
	return nil
}

// hasModes: the permission bits say who may read.
const hasModes = runtime.GOOS != "windows" && runtime.GOOS != "plan9"

// read is load for those who do not hold the store's lock. What looks like an
// older copy may be a record that is just being replaced, so it is looked at
// again when nobody can be doing that.
func (s *Store) read(ctx context.Context, stem string) (*entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading the store: %w", context.Cause(ctx))
	}
	e, err := s.load(ctx, stem)
	if !errors.Is(err, errOlder) {
		return e, err
	}
	lockErr := s.exclusive(ctx, func() error {
		e, err = s.load(ctx, stem)
		return nil
	})
	return e, errors.Join(err, lockErr)
}

// load opens a record; nil if there is none. The side file is read first: a
// writer replaces it last, so it never runs ahead of the record.
func (s *Store) load(ctx context.Context, stem string) (*entry, error) {
	newest := s.seen(stem)
	path := s.recordPath(stem)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a grant: %w", err)
	}
	e, err := s.unseal(ctx, stem, b)
	if err != nil {
		return nil, err
	}
	if newest != nil && (newest.lineage != e.lineage || newest.edition > e.edition) {
		return nil, damaged(path, "an older copy of the grant was put back", "its refresh token may be spent: log in again after deleting this file and "+s.side(stem, seenEnd)+"; delete that side file alone to use the copy all the same", errOlder)
	}
	return e, nil
}

// errOlder says that a record is older than one that was there before.
var errOlder = errors.New("a newer one was here before")

// fresh is the beginning of a record that does not exist. What a former record
// of that name left behind would make it look like an older copy.
func (s *Store) fresh(stem string) (*entry, error) {
	if err := s.forget(stem); err != nil {
		return nil, err
	}
	e := new(entry)
	rand.Read(e.lineage[:])
	return e, nil
}

// forget removes what a record leaves behind besides its lock.
func (s *Store) forget(stem string) error {
	if err := os.Remove(s.side(stem, seenEnd)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a side file: %w", err)
	}
	if _, err := lockedfile.RemoveStale(s.recordPath(stem)); err != nil {
		return err
	}
	return lockedfile.SyncDir(s.dir)
}

// write seals a record as the next edition and puts it in place, durably.
func (s *Store) write(ctx context.Context, stem string, e *entry) error {
	k, err := s.sealingKey(ctx)
	if err != nil {
		return err
	}
	e.edition++
	b, err := k.seal(e)
	if err != nil {
		return err
	}
	if err := lockedfile.WriteDurable(s.recordPath(stem), b, 0o600); err != nil {
		return fmt.Errorf("storing a grant: %w", err)
	}
	s.note(stem, e)
	return nil
}

// mark is what the side file .NAME.seen holds: lineage, edition, and a CRC-32
// (IEEE) of both. It is overwritten in place and not synced, which costs next
// to nothing and leaves the former mark or the new one after a power cut.
type mark struct {
	lineage [16]byte
	edition uint64
}

const markSize = 28

func (m mark) bytes() []byte {
	b := binary.BigEndian.AppendUint64(m.lineage[:], m.edition)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// seen reads the mark; nil where there is none or it is torn. Without it only
// the notice of older copies is lost, so it stops nobody.
func (s *Store) seen(stem string) *mark {
	b, err := os.ReadFile(s.side(stem, seenEnd))
	if err != nil || len(b) != markSize {
		return nil
	}
	var m mark
	copy(m.lineage[:], b)
	m.edition = binary.BigEndian.Uint64(b[16:])
	if !bytes.Equal(b, m.bytes()) {
		return nil
	}
	return &m
}

// note writes the mark of what was just stored. It cannot fail a Put whose
// record is in place: an old mark only notices less.
func (s *Store) note(stem string, e *entry) {
	path, b := s.side(stem, seenEnd), mark{e.lineage, e.edition}.bytes()
	if lockedfile.Patch(path, 0, b) != nil {
		lockedfile.WriteReplace(path, b, 0o600)
	}
}
