package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// silence is after how long a part that shows nothing is said to go on.
const silence = 30 * time.Second

// A viewer shows what matters of a part's output, line by line, and now and
// then that it still goes on. Close it.
type viewer struct {
	out  io.Writer
	name string
	stop chan struct{}
	over sync.WaitGroup

	mu      sync.Mutex
	streams []*stream
	lines   int  // so far, those too that are not shown
	shown   bool // since the last look
}

// A stream is one of the outputs that come together.
type stream struct {
	v    *viewer
	rest []byte // a line that has not ended
}

func (v *viewer) stream() *stream {
	s := &stream{v: v}
	v.streams = append(v.streams, s)
	return s
}

func newViewer(out io.Writer, name string) *viewer {
	v := &viewer{out: out, name: name, stop: make(chan struct{})}
	v.over.Go(v.progress)
	return v
}

// progress tells how far the part is.
func (v *viewer) progress() {
	began, tick := time.Now(), time.NewTicker(silence)
	defer tick.Stop()
	for {
		select {
		case <-v.stop:
			return
		case <-tick.C:
		}
		v.mu.Lock()
		if !v.shown {
			fmt.Fprintf(v.out, "prove: %s: %s so far, %d lines\n", v.name, time.Since(began).Round(time.Second), v.lines)
		}
		v.shown = false
		v.mu.Unlock()
	}
}

// Write never fails: a proof is not ended by a reader who has gone.
func (s *stream) Write(p []byte) (int, error) {
	s.v.mu.Lock()
	defer s.v.mu.Unlock()
	s.rest = append(s.rest, p...)
	for {
		line, rest, ended := bytes.Cut(s.rest, []byte{'\n'})
		if !ended {
			return len(p), nil
		}
		s.rest = rest
		s.v.line(string(line))
	}
}

func (v *viewer) line(line string) {
	v.lines++
	if noise(line) {
		return
	}
	v.shown = true
	fmt.Fprintln(v.out, line)
}

// noise is what go test -v says of each of ten thousand subtests that pass, and
// JSON that is meant for this program.
func noise(line string) bool {
	indented := strings.HasPrefix(line, " ")
	text := strings.TrimSpace(line)
	switch {
	case strings.HasPrefix(line, "=== "), text == "":
		return true
	case indented && strings.HasPrefix(text, "--- PASS: "):
		return true
	}
	return text == "[" || text == "]" || strings.HasPrefix(text, "{") || strings.HasPrefix(text, "}") || strings.HasPrefix(text, `"`)
}

func (v *viewer) close() {
	close(v.stop)
	v.over.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.streams {
		if len(s.rest) > 0 {
			v.line(string(s.rest))
		}
	}
}
