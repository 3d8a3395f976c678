package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// A machine is where and on what the proofs were run.
type machine struct {
	Date    string // of the beginning, in UTC
	Commit  string // of the sources; "-dirty" behind it if they had changed
	CPU     string
	Cores   int
	Memory  string
	Kernel  string
	Go      string
	Root    bool
	Release string // of the operating system; "" if it does not say
}

func here(ctx context.Context, now time.Time) machine {
	return machine{
		Date: now.UTC().Format("2006-01-02 15:04 UTC"), Commit: output(ctx, "git", "describe", "--tags", "--always", "--dirty"),
		CPU: fieldOf("/proc/cpuinfo", "model name", ":"), Cores: runtime.NumCPU(), Memory: memory(),
		Kernel: output(ctx, "uname", "-sr"), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Root: os.Geteuid() == 0, Release: strings.Trim(fieldOf("/etc/os-release", "PRETTY_NAME", "="), `"`),
	}
}

// String is all of it on one line.
func (m machine) String() string {
	user := "not as root"
	if m.Root {
		user = "as root"
	}
	all := []string{fmt.Sprintf("%s, %d cores", or(m.CPU, "a processor that does not say its name"), m.Cores), m.Memory, m.Release, m.Kernel, m.Go, user}
	var known []string
	for _, s := range all {
		if s != "" {
			known = append(known, s)
		}
	}
	return strings.Join(known, ", ")
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// output is the first line that a command prints; "" if it can't be run.
func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first)
}

// fieldOf is the first value of a key in a file of keys and values.
func fieldOf(path, key, separator string) string {
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		k, v, ok := strings.Cut(line, separator)
		if ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// memory is how much there is, in GiB.
func memory() string {
	var kib float64
	if n, err := fmt.Sscan(fieldOf("/proc/meminfo", "MemTotal", ":"), &kib); n == 0 || err != nil {
		return ""
	}
	return fmt.Sprintf("%.0f GiB", kib/(1<<20))
}
