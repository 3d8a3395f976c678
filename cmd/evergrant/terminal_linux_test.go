package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergrant/evergrant/idptest"
)

// TestPassphraseInterrupted: a signal ends the asking for a passphrase, and the
// terminal shows again what is typed.
func TestPassphraseInterrupted(t *testing.T) {
	b := newBedOf(t, idptest.Generic, idptest.Habits{})
	terminal := newTerminal(t)
	c := b.command("store", "init", "--passphrase")
	c.Env = append(c.Env, "EVERGRANT_STORE="+b.dir+"/grants")
	c.Stdin = terminal
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	said, err := c.StderrPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(said)
	if prompt, err := lines.ReadString(':'); err != nil {
		t.Fatalf("%q, %v", prompt, err)
	}
	for deadline := time.Now().Add(5 * time.Second); echoes(t, terminal); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the terminal shows what is typed")
		}
	}
	c.Process.Signal(os.Interrupt)
	began := time.Now()
	lines.WriteTo(os.Stderr)
	c.Wait()
	if code := c.ProcessState.ExitCode(); code <= 0 || time.Since(began) > 10*time.Second {
		t.Errorf("exit %d after %v", code, time.Since(began))
	}
	if !echoes(t, terminal) {
		t.Error("the terminal stays silent")
	}
}

// newTerminal is a pseudo terminal whose other end nobody types at.
func newTerminal(t *testing.T) *os.File {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this machine gives no terminals: %v", err)
	}
	t.Cleanup(func() { other.Close() })
	if err := unix.IoctlSetPointerInt(int(other.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(other.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return s.Lflag&unix.ECHO != 0
}
