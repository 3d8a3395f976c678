package keyring_test

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	oskeyring "github.com/zalando/go-keyring"
	"golang.org/x/crypto/scrypt"

	"github.com/evergrant/evergrant/oauth"
	"github.com/evergrant/evergrant/store/keyring"
)

func TestCreateKeyFile(t *testing.T) {
	path := keyFile(t)
	before := read(t, path)
	if err := keyring.CreateKeyFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an existing file: %v", err)
	}
	if string(read(t, path)) != string(before) {
		t.Error("the key was replaced")
	}
	if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

func TestKeyFileRefused(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		spoil      func(t *testing.T, path string)
	}{
		{"missing", "missing", func(t *testing.T, path string) { os.Remove(path) }},
		{"a folder", "no key file", func(t *testing.T, path string) { os.Remove(path); os.Mkdir(path, 0o700) }},
		{"short", "32 bytes", func(t *testing.T, path string) { write(t, path, []byte("AAAA")) }},
		{"no base64", "32 bytes", func(t *testing.T, path string) { write(t, path, []byte("CANARY!")) }},
		{"another key", "not that of this store", func(t *testing.T, path string) { os.Remove(path); keyring.CreateKeyFile(path) }},
		{"others can read it", "others may read", func(t *testing.T, path string) {
			if runtime.GOOS == "windows" {
				t.Skip("no permission bits here")
			}
			os.Chmod(path, 0o640)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, dir, key := place(t)
			put(t, s, record("a", 1), 0)
			tt.spoil(t, key)
			s = open(t, dir, keyring.Key{File: key})
			_, err := s.Get(t.Context(), "a")
			fails(t, err, keyring.ErrSealed, tt.says)
			names, _ := filepath.Glob(filepath.Join(dir, "*"))
			for _, call := range []func() error{
				func() error { return s.Unlock(t.Context()) },
				func() error { return s.Put(t.Context(), record("b", 1), 0) },
				func() error { return s.Put(t.Context(), record("a", 2), 1) },
				func() error { return s.Delete(t.Context(), "a", 1) },
				func() error { return s.Rename(t.Context(), "a", "b") },
				func() error { _, err := s.List(t.Context(), "", 9); return err },
				func() error { return s.Rekey(t.Context(), keyring.Key{File: keyFile(t)}) },
			} {
				fails(t, call(), keyring.ErrSealed, tt.says)
			}
			if after, _ := filepath.Glob(filepath.Join(dir, "*")); len(after) != len(names) {
				t.Errorf("files were made: %v", after)
			}
		})
	}
}

func TestKeyFileFromEnvironment(t *testing.T) {
	key, dir := keyFile(t), t.TempDir()
	t.Setenv(keyring.EnvKeyFile, key)
	s := open(t, dir, keyring.Key{})
	put(t, s, record("a", 1), 0)
	t.Setenv(keyring.EnvKeyFile, "")
	s = open(t, dir, keyring.Key{}) // the store remembers where the file was
	has(t, s, "a", 1)
	d, err := s.Describe()
	if err != nil || d.Source != keyring.KeyFile || !strings.Contains(d.Where, key) || d.KeyID == "" || d.Dir != dir {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestPassphrase(t *testing.T) {
	dir := t.TempDir()
	asked := 0
	ask := func(context.Context) (oauth.Secret, error) { asked++; return oauth.NewSecret("correct horse"), nil }
	s := open(t, dir, keyring.Key{Source: keyring.Passphrase, Passphrase: ask})
	put(t, s, record("a", 1), 0)
	has(t, s, "a", 1)
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	has(t, open(t, dir, keyring.Key{Passphrase: ask}), "a", 1)
}

// cheap makes a store of little cost for a passphrase, as the package comment
// says, so that tests need not wait.
func cheap(t *testing.T, dir, passphrase string) {
	t.Helper()
	salt := []byte("0123456789abcdef")
	key, err := scrypt.Key([]byte(passphrase), salt, 16, 8, 1, 32)
	if err != nil {
		t.Fatal(err)
	}
	id, err := hkdf.Key(sha256.New, key, nil, "evergrant key id v1", 16)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "store.json"), fmt.Appendf(nil,
		`{"version":1,"key":{"id":"%x","source":"passphrase","scrypt":{"n":16,"r":8,"p":1,"salt":"MDEyMzQ1Njc4OWFiY2RlZg=="}}}`, id))
}

func TestWrongPassphrase(t *testing.T) {
	dir := t.TempDir()
	cheap(t, dir, "correct horse")
	put(t, open(t, dir, keyring.Key{Passphrase: secret("correct horse")}), record("a", 1), 0)
	for name, k := range map[string]keyring.Key{
		"the passphrase is wrong":       {Passphrase: secret("correct horsf")},
		"nobody is there to ask":        {},
		"the passphrase is empty":       {Passphrase: secret("")},
		"asking for the passphrase: no": {Passphrase: func(context.Context) (oauth.Secret, error) { return oauth.Secret{}, errors.New("no terminal") }},
	} {
		_, err := open(t, dir, k).Get(t.Context(), "a")
		fails(t, err, keyring.ErrSealed, name)
		fails(t, open(t, dir, k).Put(t.Context(), record("b", 1), 0), keyring.ErrSealed, name)
	}
}

// TestMeta: what store.json says is believed within bounds only.
func TestMeta(t *testing.T) {
	s, dir, key := place(t)
	put(t, s, record("a", 1), 0)
	path := filepath.Join(dir, "store.json")
	good := string(read(t, path))
	id := strings.Split(good, `"`)[7]
	for name, text := range map[string]string{
		"cut":       good[:len(good)/2],
		"newer":     strings.Replace(good, `"version": 1`, `"version": 2`, 1),
		"unknown":   strings.Replace(good, `"version": 1`, `"version": 1, "hsm": true`, 1),
		"no source": strings.Replace(good, `"file"`, `"hsm"`, 1),
		"greedy":    `{"version":1,"key":{"id":"` + id + `","source":"passphrase","scrypt":{"n":1073741824,"r":8,"p":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}}}`,
		"slow":      `{"version":1,"key":{"id":"` + id + `","source":"passphrase","scrypt":{"n":2,"r":1,"p":1000000000,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}}}`,
		"no cost":   `{"version":1,"key":{"id":"` + id + `","source":"passphrase"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			write(t, path, []byte(text))
			s, err := keyring.Open(keyring.Config{Dir: dir, Key: keyring.Key{File: key, Passphrase: secret("x")}})
			if err == nil {
				err = s.Put(t.Context(), record("b", 1), 0)
			}
			fails(t, err, keyring.ErrSealed, "")
			if string(read(t, path)) != text {
				t.Error("store.json was changed")
			}
		})
	}
}

// TestMetaMissing: no second key is made beside grants that have one.
func TestMetaMissing(t *testing.T) {
	s, dir, key := place(t)
	put(t, s, record("a", 1), 0)
	path := filepath.Join(dir, "store.json")
	os.Remove(path)
	s = open(t, dir, keyring.Key{File: key})
	untouched(t, s, filepath.Join(dir, "a.grant"), "a", keyring.ErrSealed)
	fails(t, s.Put(t.Context(), record("b", 1), 0), keyring.ErrSealed, "store.json")
	if _, err := os.Stat(path); err == nil {
		t.Error("store.json was made anew")
	}
}

func TestSourceMismatch(t *testing.T) {
	s, dir, key := place(t)
	put(t, s, record("a", 1), 0)
	_, err := keyring.Open(keyring.Config{Dir: dir, Key: keyring.Key{Source: keyring.Passphrase, Passphrase: secret("x")}})
	fails(t, err, keyring.ErrSealed, key)
}

func TestRekey(t *testing.T) {
	s, dir, first := place(t)
	for _, id := range []string{"a", "b", "Ç"} {
		put(t, s, record(id, 2), 0)
	}
	second := keyFile(t)
	long := open(t, dir, keyring.Key{File: first}) // a process that goes on
	has(t, long, "a", 2)
	fails(t, s.Rekey(t.Context(), keyring.Key{File: first}), keyring.ErrSealed, "the key that the store has")
	if err := s.Rekey(t.Context(), keyring.Key{File: second}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "Ç"} {
		has(t, long, id, 2)
		put(t, long, record(id, 3), 2)
	}
	if err := s.Rekey(t.Context(), keyring.Key{Source: keyring.Passphrase, Passphrase: secret("correct horse")}); err != nil {
		t.Fatal(err)
	}
	os.Remove(first)
	os.Remove(second)
	s = open(t, dir, keyring.Key{Passphrase: secret("correct horse")})
	for _, id := range []string{"a", "b", "Ç"} {
		has(t, s, id, 3)
	}
	if d, err := s.Describe(); err != nil || d.Source != keyring.Passphrase || d.Changing {
		t.Errorf("got %+v, %v", d, err)
	}
}

// TestRekeyResumed: a change that stopped at a bad file goes on when that is
// away, and both keys are used until then.
func TestRekeyResumed(t *testing.T) {
	s, dir, first := place(t)
	for _, id := range []string{"a", "b", "c"} {
		put(t, s, record(id, 1), 0)
	}
	path := filepath.Join(dir, "b.grant")
	whole := read(t, path)
	write(t, path, whole[:len(whole)-1])
	second := keyFile(t)
	fails(t, s.Rekey(t.Context(), keyring.Key{File: second}), keyring.ErrDamaged, path)
	write(t, path, whole)
	s = open(t, dir, keyring.Key{File: first})
	if d, err := s.Describe(); err != nil || !d.Changing {
		t.Errorf("got %+v, %v", d, err)
	}
	for _, id := range []string{"a", "b", "c"} {
		has(t, s, id, 1)
	}
	fails(t, s.Rekey(t.Context(), keyring.Key{File: keyFile(t)}), keyring.ErrSealed, "was begun")
	if err := s.Rekey(t.Context(), keyring.Key{File: second}); err != nil {
		t.Fatal(err)
	}
	os.Remove(first)
	s = open(t, dir, keyring.Key{})
	for _, id := range []string{"a", "b", "c"} {
		has(t, s, id, 1)
	}
}

// TestRekeyPassphraseAmongWriters: a writer that knows one of the passphrases
// only is not stopped in the middle of a refresh by a change that was begun.
func TestRekeyPassphraseAmongWriters(t *testing.T) {
	dir := t.TempDir()
	cheap(t, dir, "old")
	s := open(t, dir, keyring.Key{Passphrase: secret("old")})
	for _, id := range []string{"a", "b"} {
		put(t, s, record(id, 1), 0)
	}
	path := filepath.Join(dir, "a.grant")
	whole := read(t, path)
	write(t, path, whole[:len(whole)-1]) // stops the change at once
	if err := s.Rekey(t.Context(), keyring.Key{Source: keyring.Passphrase, Passphrase: secret("new")}); err == nil {
		t.Fatal("a damaged grant was passed over")
	}
	asked := 0
	old := open(t, dir, keyring.Key{Passphrase: func(context.Context) (oauth.Secret, error) { asked++; return oauth.NewSecret("old"), nil }})
	put(t, old, record("b", 2), 1)
	if asked != 1 {
		t.Errorf("a writer was asked %d times", asked)
	}
	put(t, open(t, dir, keyring.Key{Passphrase: secret("new")}), record("c", 1), 0)
	write(t, path, whole)
	if err := s.Rekey(t.Context(), keyring.Key{Source: keyring.Passphrase, Passphrase: secret("new")}); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, keyring.Key{Passphrase: secret("new")})
	has(t, s, "a", 1)
	has(t, s, "b", 2)
	has(t, s, "c", 1)
}

func TestKilledRekey(t *testing.T) {
	s, dir, key := place(t)
	all := []string{"a", "b", "c", "d"}
	for _, id := range all {
		put(t, s, record(id, 1), 0)
	}
	second := keyFile(t)
	for round := range 8 {
		p := start(t, "rekey", dir, key, second)
		for range 1 + round%3 {
			p.line()
		}
		p.kill(t)
		for _, id := range all {
			has(t, open(t, dir, keyring.Key{File: key}), id, 1)
		}
	}
}

// TestNoKeyring: a machine without a keyring says what else there is, and
// nothing is stored in the clear instead.
func TestNoKeyring(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: only a Linux session can be without")
	}
	bin := t.TempDir()
	launched := filepath.Join(bin, "launched")
	if err := os.WriteFile(filepath.Join(bin, "dbus-launch"), []byte("#!/bin/sh\n>"+launched+"\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	for _, bus := range []string{"", "unix:path=/nonexistent"} {
		if _, err := os.Stat(fmt.Sprintf("/run/user/%d/bus", os.Getuid())); bus == "" && err == nil {
			continue // there is a bus without the variable
		}
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", bus)
		dir := t.TempDir()
		s := open(t, dir, keyring.Key{})
		err := s.Put(t.Context(), record("a", 1), 0)
		fails(t, err, keyring.ErrSealed, "OS keyring")
		var e *keyring.Error
		if errors.As(err, &e); !strings.Contains(e.Hint(), "key file or a passphrase") {
			t.Errorf("the hint is %q", e.Hint())
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*.*n*")); len(left) > 0 {
			t.Errorf("files were made: %v", left)
		}
		if _, err := os.Stat(launched); err == nil {
			t.Error("a bus of its own was started")
		}
	}
}

// unlockedKeyring starts the daemon with a keyring of its own in $HOME.
const unlockedKeyring = `printf pass | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1; exec "$@"`

// TestOSKeyring talks to a real Secret Service.
func TestOSKeyring(t *testing.T) {
	for _, program := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: no %s here, so the OS keyring is NOT TESTED: install dbus and gnome-keyring", program)
		}
	}
	home, dir := t.TempDir(), t.TempDir()
	cmd := exec.Command("dbus-run-session", "--", "sh", "-c", unlockedKeyring, "sh", os.Args[0], dir)
	cmd.Env = append(os.Environ(), childEnv+"=os-keyring", "HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
	_, err = open(t, dir, keyring.Key{}).Get(t.Context(), "a") // that keyring is gone
	fails(t, err, keyring.ErrSealed, "OS keyring")
}

// osKeyring is what happens in the session of TestOSKeyring.
func osKeyring(dir string) error {
	ctx := context.Background()
	for range 500 { // the daemon takes its name on the bus some time after it has forked
		if _, err := oskeyring.Get("evergrant", "nobody"); errors.Is(err, oskeyring.ErrNotFound) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	opened := func() *keyring.Store {
		s, err := keyring.Open(keyring.Config{Dir: dir})
		if err != nil {
			panic(err)
		}
		return s
	}
	s := opened()
	if err := s.Put(ctx, record("a", 1), 0); err != nil {
		return err
	}
	before, err := s.Describe()
	if err != nil || before.Source != keyring.OSKeyring {
		return errors.Join(errors.New("not in the keyring: "+before.Where), err)
	}
	if _, err := opened().Get(ctx, "a"); err != nil {
		return err
	}
	if err := s.Rekey(ctx, keyring.Key{}); err != nil {
		return err
	}
	after, err := s.Describe()
	if err != nil || after.KeyID == before.KeyID {
		return errors.Join(errors.New("the key was not changed"), err)
	}
	if _, err := opened().Get(ctx, "a"); err != nil {
		return err
	}
	if text, err := oskeyring.Get("evergrant", after.KeyID); err != nil || len(text) != 44 {
		return fmt.Errorf("the keyring holds %d bytes, want 32 in base64: %v", len(text), err)
	}
	if _, err := oskeyring.Get("evergrant", before.KeyID); !errors.Is(err, oskeyring.ErrNotFound) {
		return fmt.Errorf("the former key: %v", err)
	}
	if err := oskeyring.Delete("evergrant", after.KeyID); err != nil {
		return err
	}
	for _, err := range []error{opened().Unlock(ctx), opened().Put(ctx, record("b", 1), 0)} {
		if !errors.Is(err, keyring.ErrSealed) || !strings.Contains(err.Error(), "no longer") {
			return fmt.Errorf("without the key: %v", err)
		}
	}
	return nil
}
