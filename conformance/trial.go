package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/evergrant/evergrant/idptest"
)

const (
	clientID = "conformance"
	// mark is inside every token, so that copies can be found.
	mark = "cnryQ7xK"
)

// A trial is one case being played: a server, a grant, a folder, a file. What
// goes wrong is collected in problems.
type trial struct {
	ctx     context.Context
	program *program
	idp     *idptest.Server
	base    string
	grant   idptest.Grant

	root string // the case's own folder
	dir  string // in it, the folder of the token file
	path string // of the token file
	url  string // the token endpoint that the program is told
	runs int

	problems []string
	skipped  string // why the case can't be played here; "": it can
	broken   error  // the machine failed, not the program
	harmless bool   // what is sent twice harms nothing, or is judged by the case itself
	undo     []func()
}

func newTrial(ctx context.Context, p *program, habits idptest.Habits) (*trial, error) {
	t := &trial{ctx: ctx, program: p, idp: idptest.New(idptest.Config{Habits: habits, Mark: mark})}
	var err error
	if t.root, err = os.MkdirTemp("", "evergrant-conformance-"); err != nil {
		t.idp.Close()
		return nil, err
	}
	t.dir = filepath.Join(t.root, "tokens")
	t.path = filepath.Join(t.dir, "token.json")
	if t.base, err = t.idp.Listen("127.0.0.1:0"); err == nil {
		for _, d := range []string{t.dir, t.tmp(), t.state()} {
			err = errors.Join(err, os.Mkdir(d, 0o700))
		}
	}
	if err != nil {
		t.close()
		return nil, err
	}
	t.url = t.base + "/token"
	t.login()
	return t, nil
}

func (t *trial) tmp() string   { return filepath.Join(t.root, "tmp") }
func (t *trial) state() string { return filepath.Join(t.root, "state") }

// close ends all that the trial has begun.
func (t *trial) close() {
	t.idp.Close()
	for i := len(t.undo) - 1; i >= 0; i-- {
		t.undo[i]()
	}
	os.RemoveAll(t.root) // left behind at worst
}

// login makes a new grant and writes its token file.
func (t *trial) login() {
	t.grant = t.idp.NewGrant(idptest.GrantSpec{ClientID: clientID})
	t.write(append(t.grant.TokenJSON(), '\n'))
}

// write writes the token file as another program would, with mode 0600.
func (t *trial) write(content []byte) {
	if err := os.WriteFile(t.path, content, 0o600); err != nil {
		t.fault(err)
	}
}

// read is the token file's content; a missing file is a problem.
func (t *trial) read() []byte {
	raw, err := os.ReadFile(t.path)
	if errors.Is(err, os.ErrNotExist) {
		t.failf("the token file is gone")
	} else if err != nil {
		t.fault(err)
	}
	return raw
}

// failf notes a problem, each once.
func (t *trial) failf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, p := range t.problems {
		if p == text {
			return
		}
	}
	t.problems = append(t.problems, text)
}

// fault notes that the machine failed.
func (t *trial) fault(err error) { t.broken = errors.Join(t.broken, err) }

// skip notes why the case can't be played.
func (t *trial) skip(why string) { t.skipped = why }
