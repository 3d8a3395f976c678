package login

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cli/browser"
)

// ErrNoBrowser: there is no browser to start here, or nobody to see it. The
// person has to open the URL.
var ErrNoBrowser = errors.New("no browser can be opened here")

// startTime is how long a browser's command may take to fail. One that still
// runs then is the browser itself.
const startTime = 1500 * time.Millisecond

// Open starts the person's browser: the commands of $BROWSER in turn
// (separated by colons, or semicolons on Windows; %s stands for the URL, else
// it goes last; "none" means no browser), else what the system has. No shell is
// involved. In an SSH session without a screen, and in WSL without a way to the
// browser of Windows, it returns [ErrNoBrowser] with the reason.
//
// Only https URLs and http URLs on loopback are opened.
func Open(link string) error {
	if err := checkLink(link); err != nil {
		return err
	}
	if list := os.Getenv("BROWSER"); list != "" {
		return openBy(list, link)
	}
	if why := noScreen(); why != "" {
		return fmt.Errorf("%w: %s", ErrNoBrowser, why)
	}
	if inWSL() {
		return openWSL(link)
	}
	return watched(func() error { return systemBrowser(link) })
}

// checkLink keeps everything from the system's opener that is not the address
// of a page: other schemes start programs, and a dash starts an option.
func checkLink(link string) error {
	u, err := url.Parse(link)
	switch {
	case err != nil || u.Host == "" || u.User != nil || strings.IndexFunc(link, oddRune) >= 0:
		return errors.New("opening browser: the URL is refused: it is not a plain web address")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopbackHost(u.Hostname()):
		return nil
	}
	return errors.New("opening browser: the URL is refused: it is neither https nor on this machine")
}

// oddRune are characters that no URL has, and those that a shell in between
// would read (a $BROWSER may be a script). The rest of the parameters is
// escaped already.
func oddRune(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune("\"'`<>^|\\{};$()*!", r)
}

func loopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// openBy tries the commands of $BROWSER.
func openBy(list, link string) error {
	sep := ":"
	if runtime.GOOS == "windows" {
		sep = ";" // a colon is part of paths there
	}
	err := error(ErrNoBrowser)
	for command := range strings.SplitSeq(list, sep) {
		argv := words(command)
		switch {
		case len(argv) == 0:
			continue
		case len(argv) == 1 && argv[0] == "none":
			return fmt.Errorf("%w: BROWSER is none", ErrNoBrowser)
		}
		if err = start(withLink(argv, link)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("opening browser by $BROWSER: %w", err)
}

// withLink puts the URL where %s is, or last. The program itself is never
// chosen by the URL.
func withLink(argv []string, link string) []string {
	out, placed := []string{argv[0]}, false
	for _, a := range argv[1:] {
		placed = placed || strings.Contains(a, "%s")
		out = append(out, strings.ReplaceAll(a, "%s", link))
	}
	if !placed {
		out = append(out, link)
	}
	return out
}

// words splits a command at spaces; quotes of either kind keep them.
func words(command string) []string {
	var list []string
	var word strings.Builder
	var quote rune
	open := false
	for _, r := range command {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, open = r, true
		case r == ' ' || r == '\t':
			if open {
				list = append(list, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(r)
			open = true
		}
	}
	if open {
		list = append(list, word.String())
	}
	return list
}

// start runs a program without terminal, and does not wait for a browser to be
// closed.
func start(argv []string) error {
	return watched(func() error { return exec.Command(argv[0], argv[1:]...).Run() })
}

// watched waits a while for run to fail. What runs on belongs to the person.
func watched(run func() error) error {
	t := time.NewTimer(startTime)
	defer t.Stop()
	done := make(chan error, 1)
	go func() { done <- run() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("opening browser: %w", err)
		}
		return nil
	case <-t.C:
		return nil
	}
}

// quietBrowser keeps the system's opener from writing among our output. The
// library has variables for that and no other way.
var quietBrowser = sync.OnceFunc(func() { browser.Stdout, browser.Stderr = io.Discard, io.Discard })

func systemBrowser(link string) error {
	quietBrowser()
	err := browser.OpenURL(link)
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: no program for it is installed", ErrNoBrowser)
	}
	return err
}

// noScreen says why nobody would see a browser, or "".
func noScreen() string {
	remote := os.Getenv("SSH_CONNECTION") != "" || os.Getenv("SSH_TTY") != ""
	screen := os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != ""
	switch {
	case remote && !screen:
		return "this is an SSH session; open the URL on the machine before you"
	case !screen && !inWSL() && runtime.GOOS != "windows" && runtime.GOOS != "darwin":
		return "there is no screen (neither DISPLAY nor WAYLAND_DISPLAY is set)"
	}
	return ""
}

// inWSL: Linux inside Windows, whose browser is outside.
func inWSL() bool {
	if runtime.GOOS != "linux" {
		return false
	}
	if os.Getenv("WSL_DISTRO_NAME") != "" {
		return true
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	return err == nil && strings.Contains(strings.ToLower(string(release)), "microsoft")
}

// openWSL goes to the browser of Windows: by wslu, else by a program of Windows
// that takes the URL as one argument. cmd.exe would read it as a command line.
func openWSL(link string) error {
	for _, argv := range [][]string{{"wslview", link}, {"rundll32.exe", "url.dll,FileProtocolHandler", link}} {
		if _, err := exec.LookPath(argv[0]); err == nil {
			return start(argv)
		}
	}
	return fmt.Errorf("%w: this is WSL without a way to Windows; open the URL there, or install wslu", ErrNoBrowser)
}
