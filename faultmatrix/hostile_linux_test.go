package faultmatrix_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

// room is how much more memory than a plain refresh an answer of any kind may
// cost, and limit is the time that the program is given for it.
const (
	room  = 8 << 20
	limit = 3 * time.Second
)

// hostile are answers that attack memory or patience. taken is how many bytes
// the program may take of one that does not end.
var hostile = []struct {
	name  string
	act   func(c *call)
	taken int64
}{
	{"gzip bomb of 64 MB", func(c *call) { c.write(coded(bomb())) }, 0},
	{"gzip of gzip", func(c *call) { c.write(coded(string(zipped([]byte(bomb()))))) }, 0},
	{"stream of 2 GB", func(c *call) {
		c.process()
		c.stream("HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n{\"pad\":\"", strings.Repeat("x", 64<<10), 2<<30)
	}, 16 << 20},
	{"stream without a length", func(c *call) {
		c.process()
		c.stream("HTTP/1.1 200 OK\r\n\r\n{\"pad\":\"", strings.Repeat("x", 64<<10), 2<<30)
	}, 16 << 20},
	{"chunks of one byte", func(c *call) {
		c.process()
		c.stream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", strings.Repeat("1\r\n \r\n", 10000), 2<<30)
	}, 32 << 20},
	{"deflate to nothing", func(c *call) {
		c.process()
		c.stream("HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n", strings.Repeat("\x00\x00\x00\xff\xff", 10000), 2<<30)
	}, 16 << 20},
	{"nesting of 100,000", func(c *call) {
		c.write(whole([]byte(strings.TrimSuffix(string(c.process()), "}") + `,"nested":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}")))
	}, 0},
	{"arrays that never close", func(c *call) { c.process(); c.write(whole([]byte(strings.Repeat("[", 1<<20)))) }, 0},
	{"objects that never close", func(c *call) { c.process(); c.write(whole([]byte(strings.Repeat(`{"a":`, 1<<17)))) }, 0},
	{"sixty thousand members", func(c *call) { c.process(); c.write(whole([]byte(manyMembers()))) }, 0},
	{"a string of escapes", func(c *call) {
		c.process()
		c.write(whole([]byte(`{"access_token":"` + strings.Repeat(`\u0041`, 150_000) + `"}`)))
	}, 0},
	{"ten bytes a second", func(c *call) {
		for _, b := range whole(c.process()) {
			if _, err := c.conn.Write([]byte(string(b))); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}, 0},
	{"silence", func(c *call) { c.process(); io.Copy(io.Discard, c.conn) }, 0},
	{"flood of 1xx", func(c *call) { c.process(); c.stream("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 2<<30) }, 16 << 20},
	{"header without end", func(c *call) {
		c.process()
		c.stream("HTTP/1.1 200 OK\r\nX: ", strings.Repeat("x", 64<<10), 2<<30)
	}, 16 << 20},
	{"a million header fields", func(c *call) {
		c.process()
		c.stream("HTTP/1.1 200 OK\r\n", strings.Repeat("A: b\r\n", 10000), 2<<30)
	}, 16 << 20},
	{"trailer without end", func(c *call) {
		c.process()
		c.stream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\nX: ", strings.Repeat("x", 64<<10), 2<<30)
	}, 16 << 20},
	{"a reason of a megabyte", func(c *call) { c.process(); c.write("HTTP/1.1 200 " + strings.Repeat("x", 1<<20) + "\r\n\r\n") }, 0},
	{"an error of a megabyte", func(c *call) {
		says(400, "", `{"error":"invalid_client","error_description":"`+strings.Repeat("x", 1<<20-100)+`"}`)(c)
	}, 0},
}

// TestHostile measures the real program, in processes of its own, against the
// same program in a plain refresh.
func TestHostile(t *testing.T) {
	bomb()
	var plainPeaks []int64
	for range 5 {
		peak, _ := measured(t, func(c *call) { c.write(whole(c.process())) })
		plainPeaks = append(plainPeaks, peak)
	}
	slices.Sort(plainPeaks)
	base := plainPeaks[len(plainPeaks)/2]
	var worst atomic.Int64
	t.Run("answers", func(t *testing.T) {
		for _, h := range hostile {
			t.Run(h.name, func(t *testing.T) {
				t.Parallel()
				peak, w := measured(t, h.act)
				if more := peak - base; more > room {
					t.Errorf("it took %d KiB more than a plain refresh (%d KiB)", more>>10, base>>10)
				}
				worst.Store(max(worst.Load(), peak-base))
				if n := w.written.Load(); h.taken > 0 && n > h.taken {
					t.Errorf("%d MB were taken", n>>20)
				}
				t.Logf("%d KiB more than a plain refresh", (peak-base)>>10)
			})
		}
	})
	t.Logf("a plain refresh takes %d KiB, a hostile answer at most %d KiB more", base>>10, worst.Load()>>10)
}

// TestMeasureSees: the measure finds a program that keeps what it reads.
func TestMeasureSees(t *testing.T) {
	over := make(chan struct{})
	close(over)
	c := exec.CommandContext(t.Context(), "sh", "-c", `x=$(head -c 30000000 /dev/zero | tr '\0' x); echo ${#x}`)
	if peak, said := watch(t, c, over); peak < 16<<20 || !strings.HasSuffix(said, "30000000\n") {
		t.Errorf("30 MB were seen as %d KiB", peak>>10)
	}
}

// measured refreshes once by the program and returns its largest resident
// memory. Whatever comes, the deadline is kept and the grant is not broken.
func measured(t *testing.T, act func(c *call)) (int64, *wire) {
	t.Helper()
	tr := &trial{t: t, dir: t.TempDir(), want: evergrant.Uncertain}
	tr.path = tr.dir + "/token.json"
	w := tr.wired(idptest.Habits{}, act)
	t.Cleanup(tr.close)
	tr.must(os.WriteFile(tr.dir+"/secret", []byte("s-"+secretMark+"\n"), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program(t), append(tr.command("refresh"), "--timeout", limit.String(), "-v=false")...)
	c.Dir, c.Env = tr.dir, tr.env()
	began := time.Now()
	peak, said := watch(t, c, w.over)
	if took := time.Since(began); took > limit+rest+3*time.Second {
		t.Errorf("it took %v", took)
	}
	if code := c.ProcessState.ExitCode(); code == 1 || code < 0 || code == 2 {
		t.Errorf("exit code %d: %s", code, said)
	}
	tr.say("%s", said)
	tr.readable()
	tr.newest()
	tr.silent()
	if n := w.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
	return peak, w
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// rest is how long a program may take after the exchange until it wants to say
// what came of it.
const rest = 300 * time.Millisecond

// watch runs a process to its end and returns its largest resident memory and
// what it said. What wait4 says of the memory would not do: it counts that of
// the parent which the process was made from. So the process is held at its
// first word, which it says when all is done: its output is a pipe that is
// full. over tells that the exchange is.
func watch(t *testing.T, c *exec.Cmd, over <-chan struct{}) (peak int64, said string) {
	t.Helper()
	r, w, filled := fullPipe(t)
	defer r.Close()
	c.Stdout, c.Stderr = w, w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	select {
	case <-over:
	case <-time.After(limit + 5*time.Second):
	}
	for end := time.Now().Add(rest); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		peak = max(peak, residentPeak(t, c.Process.Pid))
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	return peak, string(text[filled:])
}

// residentPeak is the VmHWM of a process.
func residentPeak(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m := highWater.FindSubmatch(b)
	if err != nil || m == nil {
		t.Fatalf("the memory of the process cannot be seen: %v", err)
	}
	n, _ := strconv.ParseInt(string(m[1]), 10, 64) // digits
	return n << 10
}

// fullPipe is a pipe that takes nothing until it is read, and how many bytes
// are in it.
func fullPipe(t *testing.T) (r, w *os.File, filled int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); ; {
		n, err := unix.Write(fds[1], block)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		filled += n
	}
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, false); err != nil {
			t.Fatal(err)
		}
	}
	return os.NewFile(uintptr(fds[0]), "output"), os.NewFile(uintptr(fds[1]), "output"), filled
}

// stream writes head, and part again and again up to size bytes or until the
// client leaves.
func (c *call) stream(head, part string, size int64) {
	if _, err := io.WriteString(c.conn, head); err != nil {
		return
	}
	for block := []byte(part); c.w.written.Load() < size; {
		n, err := c.conn.Write(block)
		c.w.written.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// bomb is a gzip of 64 MB of spaces, made once: that takes longer than to send
// it.
var bomb = sync.OnceValue(func() string {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is valid
	block := bytes.Repeat([]byte{' '}, 1<<20)
	for range 64 {
		z.Write(block) // a Buffer takes all
	}
	z.Close()
	return b.String()
})

func manyMembers() string {
	var b strings.Builder
	b.WriteString(`{"access_token":"A"`)
	for i := range 60_000 {
		fmt.Fprintf(&b, `,"m%d":1`, i)
	}
	return b.String() + "}"
}
