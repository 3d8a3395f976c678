package conformance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// seesProcesses: memory and arguments of processes can be read.
const seesProcesses = true

// members lists the processes of a group.
func members(group int) []string {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var out []string
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ") // proc(5): the name before it may hold anything
		if f := strings.Fields(rest); len(f) > 2 && f[2] == strconv.Itoa(group) {
			out = append(out, filepath.Dir(stat))
		}
	}
	return out
}

// groupMemory is the sum of what the processes of a group hold resident, in bytes.
func groupMemory(group int) int64 {
	var sum int64
	for _, dir := range members(group) {
		b, err := os.ReadFile(filepath.Join(dir, "statm"))
		if err != nil {
			continue
		}
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64) // the kernel writes nothing else
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}

// arguments is what the process list shows of a group.
func arguments(group int) []byte {
	var all []byte
	for _, dir := range members(group) {
		b, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil {
			all = append(append(all, b...), '\n')
		}
	}
	return all
}

// mountSmall puts a small disk in memory at dir; only root can.
func mountSmall(dir string, size int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
}

func remountReadOnly(dir string) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
}

func remountWritable(dir string) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "")
}

func unmount(dir string) { syscall.Unmount(dir, syscall.MNT_DETACH) }
