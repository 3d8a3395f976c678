//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// launcher runs programs through bench/peers/launch and learns what they cost.
type launcher struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
	dir string
	env []string
}

// cost is what one run of a program cost, as bench/peers/launch says it.
type cost struct {
	Wall   time.Duration `json:"wall_ns"`
	CPU    time.Duration `json:"cpu_ns"`
	Peak   int64         `json:"peak_kib"`
	Faults int64         `json:"faults"`
	Exit   int           `json:"exit"`
	Error  string        `json:"error"`
}

func startLauncher(path, dir string) (*launcher, error) {
	l := &launcher{cmd: exec.Command(path), dir: dir, env: os.Environ()}
	l.cmd.Stderr = os.Stderr
	l.cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=20") // small: its size is the floor of every peak
	var err error
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	l.enc, l.dec = json.NewEncoder(l.in), json.NewDecoder(out)
	return l, l.cmd.Start()
}

func (l *launcher) close() {
	l.in.Close()
	l.cmd.Wait()
}

// run runs a program to its end. A program that fails is an error: a refusal is
// quicker than the work.
func (l *launcher) run(argv ...string) (cost, error) {
	job := struct {
		Argv []string `json:"argv"`
		Dir  string   `json:"dir"`
		Env  []string `json:"env"`
	}{argv, l.dir, l.env}
	var c cost
	if err := errors.Join(l.enc.Encode(job), l.dec.Decode(&c)); err != nil {
		return c, fmt.Errorf("asking the launcher: %w", err)
	}
	if c.Error != "" || c.Exit != 0 {
		return c, fmt.Errorf("running %q: exit %d %s", argv, c.Exit, c.Error)
	}
	return c, nil
}
