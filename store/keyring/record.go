package keyring

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evergrant/evergrant"
)

// The layout of a record's file; see the package's comment.
const (
	magic       = "evergra\x01"
	keyIDAt     = 8
	lineageAt   = 24
	generatedAt = 40
	editionAt   = 48
	saltAt      = 56
	headerSize  = 88 // the associated data; the nonce follows
	keySize     = 32
	keyIDInfo   = "evergrant key id v1"
	grantInfo   = "evergrant grant v1"
)

// keyID tells keys apart without giving anything of them away.
type keyID [16]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

// master is the key of a store.
type master struct {
	id     keyID
	secret []byte
}

func newMaster(secret []byte) (*master, error) {
	b, err := hkdf.Key(sha256.New, secret, nil, keyIDInfo, len(keyID{}))
	if err != nil {
		return nil, fmt.Errorf("deriving the key id: %w", err)
	}
	return &master{id: keyID(b), secret: secret}, nil
}

// entry is a record as its file holds it.
type entry struct {
	record  evergrant.Record
	moving  string // the id it is being renamed from, see Rename
	lineage [16]byte
	edition uint64
}

// aead is the cipher of one write. The constructor that chooses the nonce
// itself leaves no way to use one twice.
func (k *master) aead(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k.secret, salt, grantInfo, keySize)
	if err != nil {
		return nil, fmt.Errorf("deriving a record's key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("preparing a record's cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (k *master) seal(e *entry) ([]byte, error) {
	b := append([]byte(magic), k.id[:]...)
	b = append(b, e.lineage[:]...)
	b = binary.BigEndian.AppendUint64(b, e.record.Generation)
	b = binary.BigEndian.AppendUint64(b, e.edition)
	b = append(b, make([]byte, headerSize-saltAt)...)
	rand.Read(b[saltAt:])
	a, err := k.aead(b[saltAt:])
	if err != nil {
		return nil, err
	}
	plain, err := e.plaintext()
	if err != nil {
		return nil, err
	}
	return a.Seal(b, nil, plain, b), nil
}

// unseal opens a record's file, whose name must be that of the id inside.
func (s *Store) unseal(ctx context.Context, stem string, b []byte) (*entry, error) {
	path := s.recordPath(stem)
	switch {
	case len(b) < headerSize || !bytes.HasPrefix(b, []byte(magic[:keyIDAt-1])):
		return nil, damaged(path, "this is no grant, or only a part of one", "restore the folder from a backup, or delete the file and log in again", nil)
	case b[keyIDAt-1] != magic[keyIDAt-1]:
		return nil, damaged(path, fmt.Sprintf("the grant is in version %d of the format", b[keyIDAt-1]), "use the newer version that wrote it", nil)
	}
	k, err := s.key(ctx, keyID(b[keyIDAt:lineageAt]), path)
	if err != nil {
		return nil, err
	}
	e, err := k.open(b)
	if err != nil {
		return nil, damaged(path, "the grant was altered or cut short", "restore the folder from a backup, or delete the file and log in again", err)
	}
	if stem != stemOf(e.record.ID) && (e.moving == "" || stem != stemOf(e.moving)) {
		return nil, damaged(path, fmt.Sprintf("this is the grant %q under another name", e.record.ID), "remove this copy; a grant gets another name by rename", nil)
	}
	if stem != stemOf(e.record.ID) {
		e.record.ID, e.moving = e.moving, "" // the rename has not happened yet
	}
	return e, nil
}

func (k *master) open(b []byte) (*entry, error) {
	a, err := k.aead(b[saltAt:headerSize])
	if err != nil {
		return nil, err
	}
	plain, err := a.Open(nil, nil, b[headerSize:], b[:headerSize])
	if err != nil {
		return nil, err
	}
	e := &entry{edition: binary.BigEndian.Uint64(b[editionAt:])}
	copy(e.lineage[:], b[lineageAt:])
	e.record.Generation = binary.BigEndian.Uint64(b[generatedAt:])
	return e, e.fill(plain)
}

// plaintext is what is sealed of a record.
func (e *entry) plaintext() ([]byte, error) {
	var at []byte
	if !e.record.RefreshAt.IsZero() {
		var err error
		if at, err = e.record.RefreshAt.UTC().MarshalText(); err != nil {
			return nil, fmt.Errorf("storing a grant: %w", err)
		}
	}
	fields := [][]byte{[]byte(e.record.ID), []byte(e.moving), at, e.record.Data, e.record.Intent}
	for _, name := range slices.Sorted(maps.Keys(e.record.Meta)) {
		fields = append(fields, []byte(name), []byte(e.record.Meta[name]))
	}
	var b []byte
	for _, f := range fields {
		b = append(binary.AppendUvarint(b, uint64(len(f))), f...)
	}
	return b, nil
}

// errPlaintext cannot happen to what this package sealed.
var errPlaintext = errors.New("the fields do not add up")

func (e *entry) fill(plain []byte) error {
	var fields [][]byte
	for len(plain) > 0 {
		n, used := binary.Uvarint(plain)
		if used <= 0 || n > uint64(len(plain)-used) {
			return errPlaintext
		}
		plain = plain[used:]
		fields = append(fields, plain[:n:n])
		plain = plain[n:]
	}
	if len(fields) < 5 || len(fields)%2 == 0 {
		return errPlaintext
	}
	r := &e.record
	r.ID, e.moving, r.Data = string(fields[0]), string(fields[1]), fields[3]
	if len(fields[4]) > 0 {
		r.Intent = fields[4]
	}
	for pair := range slices.Chunk(fields[5:], 2) {
		if r.Meta == nil {
			r.Meta = map[string]string{}
		}
		r.Meta[string(pair[0])] = string(pair[1])
	}
	if len(fields[2]) == 0 {
		return nil
	}
	var err error
	r.RefreshAt, err = time.Parse(time.RFC3339Nano, string(fields[2]))
	return err
}
