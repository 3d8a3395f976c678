//go:build linux

// Command launch starts programs for the benchmark and says what each cost. It is
// a process of its own because it is small: the kernel counts the memory of the
// process that starts a program towards that program's peak, so a large driver
// would hide what a small program needs. The same floor (about 3 MiB) is under
// every peak it reports.
//
// It reads one JSON object a line, a [Job], and answers each with one line, a
// [Cost], in order. It ends with its input.
//
// It runs on Linux only: other systems count Maxrss in other units.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Job is a program to run.
type Job struct {
	Argv []string `json:"argv"` // Argv[0] is a path; nothing is looked up
	Dir  string   `json:"dir"`
	Env  []string `json:"env"`
}

// Cost is what a program cost from before it was started until it was waited for.
type Cost struct {
	Wall time.Duration `json:"wall_ns"`
	CPU  time.Duration `json:"cpu_ns"`   // of the program and the children it waited for
	Peak int64         `json:"peak_kib"` // the largest resident set among them
	// Faults are the page faults that needed no disk: what most of a start goes
	// into, and nearly free of noise.
	Faults int64  `json:"faults"`
	Exit   int    `json:"exit"`
	Error  string `json:"error,omitempty"` // it could not be started
}

func main() {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, "launch:", err)
		os.Exit(1)
	}
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	for {
		var j Job
		if in.Decode(&j) != nil || out.Encode(run(j, null.Fd())) != nil {
			return
		}
	}
}

func run(j Job, null uintptr) Cost {
	begun := time.Now()
	pid, err := syscall.ForkExec(j.Argv[0], j.Argv, &syscall.ProcAttr{
		Dir: j.Dir, Env: j.Env, Files: []uintptr{null, null, os.Stderr.Fd()},
	})
	if err != nil {
		return Cost{Error: err.Error()}
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	for {
		_, err = syscall.Wait4(pid, &status, 0, &usage)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return Cost{Error: err.Error()}
	}
	return Cost{
		Wall:   time.Since(begun),
		CPU:    time.Duration(usage.Utime.Nano() + usage.Stime.Nano()),
		Peak:   int64(usage.Maxrss),
		Faults: int64(usage.Minflt),
		Exit:   status.ExitStatus(),
	}
}
