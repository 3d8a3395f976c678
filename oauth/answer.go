package oauth

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody       = 512 << 10 // of an answer, before and after inflating: twice the longest token
	maxRefusal    = 1 << 18   // of one that is no success
	maxRetryAfter = time.Hour
)

// Answer is what a server said, whatever the status. Printing it shows the
// status and sizes only.
type Answer struct {
	// Status is the HTTP status. Redirects are answers: they are not followed.
	Status int
	Header http.Header
	// Body is inflated and holds at most 512 KiB.
	Body []byte
	// Truncated says that the body was longer than that.
	Truncated bool
	// Received is when the last byte of the body was read; Sent is when the
	// first byte of the request was let through. Both carry the monotonic
	// reading, so that lifetimes can be counted from them; UTC() would strip it.
	Received, Sent time.Time
}

// String shows the status and the size.
func (a Answer) String() string {
	return fmt.Sprintf("answer %d, %s", a.Status, sized(len(a.Body)))
}

// Format writes what String returns, whatever the verb.
func (a Answer) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }

// LogValue returns what String returns.
func (a Answer) LogValue() slog.Value { return slog.StringValue(a.String()) }

// MarshalText returns what String returns.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// RetryAfter reads the Retry-After field (RFC 9110 §10.2.3), in seconds or as a
// date. A date counts from the answer's own Date, so that a wrong clock here or
// there cancels out, else from Received. Past and negative values are 0, the
// most is 1 h. ok is false if the field is absent or unreadable.
func (a *Answer) RetryAfter() (wait time.Duration, ok bool) {
	value := strings.TrimSpace(a.Header.Get("Retry-After"))
	wait, ok = seconds(value, maxRetryAfter)
	if !ok {
		at, err := http.ParseTime(value)
		if err != nil {
			return 0, false
		}
		now, err := http.ParseTime(a.Header.Get("Date"))
		if err != nil {
			now = a.Received
		}
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter), true
}

// seconds reads a number of seconds in any form a JSON number may have, or its
// decimal text, and caps it at limit on both sides. NaN, hexadecimal and units
// are not numbers here.
func seconds(text string, limit time.Duration) (time.Duration, bool) {
	if text == "" || strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) { // out of range is a number all the same
		return 0, false
	}
	f = max(min(f, limit.Seconds()), -limit.Seconds())
	return time.Duration(f * float64(time.Second)), true
}

// readBody reads at most maxBody bytes (maxRefusal where the status is no success), inflated if the server compressed
// without being asked. On an error it returns what came before it.
func readBody(resp *http.Response) (body []byte, truncated bool, err error) {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, false, nil // what follows is not a body and may never end
	}
	// The limit on the raw bytes stops streams that inflate to nothing.
	limit := maxBody
	if resp.StatusCode/100 != 2 {
		limit = maxRefusal
	}
	raw := &io.LimitedReader{R: &sticky{r: resp.Body}, N: int64(limit) + 1}
	src, err := inflate(bufio.NewReaderSize(raw, 512), resp.Header.Get("Content-Encoding"))
	if err == nil {
		var b bytes.Buffer // doubles, where io.ReadAll would leave four times the body behind
		_, err = b.ReadFrom(io.LimitReader(src, int64(limit)+1))
		body = b.Bytes()
	}
	if len(body) > limit {
		return body[:limit], true, nil
	}
	if raw.N == 0 {
		return body, true, nil
	}
	return body, false, err
}

// sticky says an error as often as it is read: the body of [http.ReadResponse]
// says once that it was cut, and then that it is at its end.
type sticky struct {
	r   io.Reader
	err error
}

func (s *sticky) Read(p []byte) (n int, err error) {
	if s.err == nil {
		n, s.err = s.r.Read(p)
	}
	return n, s.err
}

// inflate looks at the bytes too: some proxies leave the Content-Encoding of a
// body that they have unpacked already.
func inflate(src *bufio.Reader, coding string) (io.Reader, error) {
	head, err := src.Peek(2)
	if err != nil {
		return src, nil // shorter than any compressed stream; a fault shows again on reading
	}
	switch strings.ToLower(strings.TrimSpace(coding)) {
	case "gzip", "x-gzip":
		if bytes.Equal(head, []byte{0x1f, 0x8b}) {
			z, err := gzip.NewReader(src)
			if err == nil {
				z.Multistream(false) // what may follow is no concern of ours
			}
			return z, err
		}
	case "deflate": // RFC 9110 §8.4.1.2: zlib; some send bare deflate
		if head[0]&0x0f == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0 {
			return zlib.NewReader(src)
		}
		if head[0] != '{' && head[0] != ' ' && head[0] != '\n' {
			return flate.NewReader(src), nil
		}
	}
	return src, nil
}
