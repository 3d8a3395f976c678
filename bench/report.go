//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// row is a line of the table.
type row struct {
	what   string
	ours   string // Evergrant's figure
	peer   string // whom it is compared with, and that one's figure
	ratio  string // ours to the peer's; "" where the figure speaks for itself
	target string // of docs/design.md; "" is a figure without one
	missed string // "" is reached; else by how much it is not
}

// report is what a run found.
type report struct {
	machine []string
	rows    []row
}

func (r *report) add(rows ...row) { r.rows = append(r.rows, rows...) }

// atMost fills in the verdict on a ratio.
func (r row) atMost(q ratio, limit float64) row {
	r.ratio, r.target = q.String(), fmt.Sprintf("≤ %.2f ×", limit)
	if q.mid > limit {
		r.missed = fmt.Sprintf("%.2f × too much", q.mid/limit)
	}
	return r
}

func (r row) verdict() string {
	switch {
	case r.target == "":
		return ""
	case r.missed == "":
		return "yes"
	}
	return "no: " + r.missed
}

func (r row) cells() []string {
	return []string{r.what, r.ours, r.peer, r.ratio, r.target, r.verdict()}
}

var head = []string{"what", "evergrant", "side by side with", "ratio (p10–p90)", "to reach", "reached"}

func (r *report) print(w io.Writer) {
	fmt.Fprintln(w, strings.Join(r.machine, "\n"))
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, cells := range append([][]string{head}, each(r.rows, row.cells)...) {
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	t.Flush()
}

const beginMark, endMark = "<!-- bench:begin -->", "<!-- bench:end -->"

// write replaces what stands between the markers of a file.
func (r *report) write(path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	before, rest, ok1 := bytes.Cut(old, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok1 || !ok2 {
		return fmt.Errorf("writing the table: %s lacks the markers %s and %s", path, beginMark, endMark)
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(beginMark + "\n\n")
	for _, line := range r.machine {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintf(&b, "\n| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, x := range r.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.ReplaceAll(strings.Join(x.cells(), " ¦ "), "|", `\|`))
	}
	text := strings.ReplaceAll(b.String(), " ¦ ", " | ") + "\n" + endMark + string(after)
	return os.WriteFile(path, []byte(text), 0o644)
}

// machine says what the figures were taken on.
func machine(dir string) []string {
	var uts syscall.Utsname
	syscall.Uname(&uts)
	return []string{
		"Date: " + time.Now().UTC().Format("2006-01-02 15:04 UTC"),
		fmt.Sprintf("Machine: %s, %d cores, %s memory", procValue("/proc/cpuinfo", "model name"), runtime.NumCPU(), procValue("/proc/meminfo", "MemTotal")),
		fmt.Sprintf("System: Linux %s, %s, token files on %s, %s", cString(uts.Release[:]), runtime.GOARCH, fileSystem(dir), runtime.Version()),
		"Load averages when it began: " + loadAverage(),
	}
}

// procValue is the first value of a key in a file of "key: value" lines.
func procValue(path, key string) string {
	b, _ := os.ReadFile(path)
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

// busy warns of figures that were taken while others wanted the processors too.
func busy() []string {
	var load float64
	if _, err := fmt.Sscan(loadAverage(), &load); err != nil || load <= float64(runtime.NumCPU())+1 {
		return nil
	}
	return []string{fmt.Sprintf("**The machine was busy** (load %.1f on %d cores): wall times and percentiles hold the waiting for a processor; go by `cpu`, faults, allocations and counts", load, runtime.NumCPU())}
}

// cString reads a C string, whose bytes are signed on some architectures.
func cString[T int8 | uint8](b []T) string {
	var s strings.Builder
	for _, c := range b {
		if c == 0 {
			break
		}
		s.WriteByte(byte(c))
	}
	return s.String()
}

// fileSystem names what holds dir: on tmpfs an fsync costs nothing.
func fileSystem(dir string) string {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return "an unknown file system"
	}
	names := map[int64]string{0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x01021994: "tmpfs (fsync is free here)", 0x794c7630: "overlayfs"}
	if n, ok := names[int64(st.Type)]; ok {
		return n
	}
	return fmt.Sprintf("file system %#x", st.Type)
}
