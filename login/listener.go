package login

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed" // page.html and page.css
	"encoding/base64"
	"errors"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

const (
	maxPosted  = 256 << 10       // bytes of a form_post
	lastLook   = time.Second     // for the browser to come for the last page
	donePath   = "/login-result" // where the browser ends, without code and state in its history
	defaultURI = "/callback"
)

// Redirect says where the browser comes back to. The zero Redirect is
// http://127.0.0.1 with a port of the system's choice and the path /callback.
type Redirect struct {
	// Host is 127.0.0.1 (also ""), ::1, or localhost for registrations that
	// take nothing else; RFC 8252 §8.3 advises against it.
	Host string
	// Port to listen on; 0 lets the system choose. With LastPort the first free
	// one from Port to LastPort is taken.
	Port, LastPort int
	// Path of the callback; "" means /callback.
	Path string
	// URI, if set, is sent as redirect_uri in place of the loopback address:
	// an https page of your own that sends the browser on to the loopback
	// address with its query unchanged, for providers that take nothing else.
	// Port must be set then, so that the page knows where to. [Paste] takes a
	// URI of an app's own scheme too (RFC 8252 §7.1).
	URI string

	unlistened bool // the address is pasted: no listener has to get it
}

func (r Redirect) host() string { return cmp.Or(strings.Trim(r.Host, "[]"), "127.0.0.1") }
func (r Redirect) path() string { return cmp.Or(r.Path, defaultURI) }

func (r Redirect) check() error {
	u, err := url.Parse(r.path())
	switch {
	case r.host() != "127.0.0.1" && r.host() != "::1" && r.host() != "localhost":
		return usage("the listener's host is not 127.0.0.1, ::1 or localhost", "the browser comes back to this machine alone")
	case r.Port < 0 || r.Port > 65535 || r.LastPort > 65535 || r.LastPort != 0 && (r.LastPort < r.Port || r.Port == 0):
		return usage("the listener's port is not a port, or the range is turned round", "give a port, or two with the lower one first")
	case err != nil || !strings.HasPrefix(r.path(), "/") || u.Path != r.path() || r.path() == donePath:
		return usage("the listener's path can't be used", "give a path such as /callback")
	}
	return r.checkURI()
}

func (r Redirect) checkURI() error {
	if r.URI == "" {
		return nil
	}
	u, err := url.Parse(r.URI)
	if r.unlistened && err == nil && ownScheme(u) {
		return nil
	}
	if err != nil || oauth.CheckEndpoint(r.URI) != nil || u.Scheme != "https" {
		return usage("the redirect URI is not an https URL", "give the address of your page that sends the browser on to the loopback address")
	}
	if r.Port == 0 || r.LastPort != 0 {
		return usage("the page behind the redirect URI has to know the port", "give one port")
	}
	return nil
}

// ownScheme reports whether a URI is one of an app's own scheme, such as
// com.example.app:/callback (RFC 8252 §7.1) or urn:ietf:wg:oauth:2.0:oob. What a
// browser would run or read is none.
func ownScheme(u *url.URL) bool {
	switch strings.ToLower(u.Scheme) {
	case "", "http", "https", "javascript", "data", "file", "vbscript", "blob", "about":
		return false
	}
	return u.Fragment == ""
}

func (r Redirect) loopback(port int) string {
	return (&url.URL{Scheme: "http", Host: net.JoinHostPort(r.host(), strconv.Itoa(port)), Path: r.path()}).String()
}

// unheard is the redirect URI where nothing listens. A port is chosen as a
// registration without one takes any (RFC 8252 §7.3).
func (r Redirect) unheard() (string, error) {
	r.unlistened = true
	if r.URI != "" && r.Port == 0 {
		r.Port = 1 // no matter: the person copies the address
	}
	if err := r.check(); err != nil {
		return "", err
	}
	if r.URI != "" {
		return r.URI, nil
	}
	return r.loopback(cmp.Or(r.Port, 8080)), nil
}

// listener waits for the browser on a loopback address. close ends all of it.
type listener struct {
	redirect Redirect
	port     int
	sockets  []net.Listener
	server   *http.Server
	serving  sync.WaitGroup
	way      *ways

	decided chan struct{} // closed once outcome is set
	outcome error
	seen    chan struct{} // closed when the last page has left
	once    sync.Once     // over seen
}

func listen(r Redirect) (*listener, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	l := &listener{redirect: r, decided: make(chan struct{}), seen: make(chan struct{})}
	var err error
	for port := r.Port; ; port++ {
		if l.sockets, l.port, err = sockets(r.host(), port); err == nil {
			break
		}
		if port >= r.LastPort {
			return nil, &Error{Kind: Usage, Says: "no port to listen on for the browser", Do: "give another port, or 0 for any", Err: err}
		}
	}
	l.server = &http.Server{
		Handler: l, ErrorLog: log.New(io.Discard, "", 0), MaxHeaderBytes: 256 << 10,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second, IdleTimeout: 10 * time.Second,
	}
	return l, nil
}

// sockets listens on a port of the host: for localhost on both loopback
// addresses, as browsers try them in any order, and on IPv4 alone if there is
// no IPv6.
func sockets(host string, port int) ([]net.Listener, int, error) {
	at := host
	if host == "localhost" {
		at = "127.0.0.1"
	}
	first, err := net.Listen("tcp", net.JoinHostPort(at, strconv.Itoa(port)))
	if err != nil {
		return nil, 0, err
	}
	port = first.Addr().(*net.TCPAddr).Port
	list := []net.Listener{first}
	if host == "localhost" {
		second, err := net.Listen("tcp", net.JoinHostPort("::1", strconv.Itoa(port)))
		switch {
		case err == nil:
			list = append(list, second)
		case hasIPv6(): // another program listens there, and would get what the browser brings
			first.Close()
			return nil, 0, err
		}
	}
	return list, port, nil
}

// hasIPv6 reports whether this machine has the address ::1.
func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		l.Close()
	}
	return err == nil
}

func (l *listener) redirectURI() string {
	return cmp.Or(l.redirect.URI, l.redirect.loopback(l.port))
}

func (l *listener) serve(w *ways) {
	l.way = w
	for _, s := range l.sockets {
		l.serving.Go(func() { l.server.Serve(s) })
	}
}

// ServeHTTP turns away what is not the browser of this login, and takes one
// callback.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	switch {
	case !l.ours(r.Host): // another name for this address: DNS rebinding
		turnAway(w, http.StatusMisdirectedRequest, "This address is not known here.")
	case r.URL.Path == donePath && r.Method == http.MethodGet:
		l.lastPage(w, r)
	case r.URL.Path != l.redirect.path():
		turnAway(w, http.StatusNotFound, "There is nothing here.")
	case r.Method == http.MethodGet:
		l.callback(w, r.URL.RawQuery)
	case r.Method == http.MethodPost:
		l.posted(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		turnAway(w, http.StatusMethodNotAllowed, "This is not how a browser comes back.")
	}
}

// ours are the names under which a browser reaches the listener.
func (l *listener) ours(host string) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil || port != strconv.Itoa(l.port) {
		return false
	}
	return name == "127.0.0.1" || name == "::1" || strings.EqualFold(name, "localhost")
}

func (l *listener) posted(w http.ResponseWriter, r *http.Request) {
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/x-www-form-urlencoded" {
		turnAway(w, http.StatusUnsupportedMediaType, "This is not how a browser comes back.")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPosted))
	if err != nil {
		turnAway(w, http.StatusRequestEntityTooLarge, "The answer is too long.")
		return
	}
	l.callback(w, string(body))
}

// callback judges one. A final one, good or bad, sends the browser on, so that
// neither code nor state stay in its history.
func (l *listener) callback(w http.ResponseWriter, form string) {
	cb, err := l.way.parse(form)
	switch l.way.offer(result{cb, err, true}) {
	case accepted:
		safe(w)
		w.Header().Set("Location", donePath)
		w.WriteHeader(http.StatusSeeOther)
	case late:
		turnAway(w, http.StatusConflict, "This login has had its answer already.")
	default:
		turnAway(w, http.StatusBadRequest, "This is not the answer to the login that waits here: "+reason(err)+".")
	}
}

// reason is the part of a stray error that says why.
func reason(err error) string {
	_, why, _ := strings.Cut(err.Error(), ": ")
	return cmp.Or(why, "it is incomplete")
}

// lastPage waits for the outcome and shows it.
func (l *listener) lastPage(w http.ResponseWriter, r *http.Request) {
	select {
	case <-l.decided:
	case <-r.Context().Done():
		return
	}
	defer l.once.Do(func() { close(l.seen) })
	if l.outcome != nil {
		render(w, http.StatusOK, page{Title: "Not logged in", Text: publicText(l.outcome)})
		return
	}
	render(w, http.StatusOK, page{Done: true, Title: "Logged in", Text: "You can close this window and go back to where you came from."})
}

// publicText is what a page may say of an error.
func publicText(err error) string {
	var e *Error
	var refused *oauth.ServerError
	switch {
	case errors.As(err, &refused) && refused.Code == "access_denied":
		return "The login was denied."
	case errors.As(err, &refused):
		return "The server refused: " + cmp.Or(refused.Description, refused.Code)
	case errors.As(err, &e):
		return strings.ToUpper(e.Says[:1]) + e.Says[1:] + "."
	}
	return "The login was cancelled."
}

// finish tells the browser how it ended, and waits a moment for it to come if
// it was sent on.
func (l *listener) finish(ctx context.Context, outcome error, sentOn bool) {
	l.outcome = outcome
	close(l.decided)
	if !sentOn {
		return
	}
	t := time.NewTimer(lastLook)
	defer t.Stop()
	select {
	case <-l.seen:
	case <-t.C:
	case <-ctx.Done():
	}
}

// close shuts the listener and waits for what it runs.
func (l *listener) close() {
	ctx, cancel := context.WithTimeout(context.Background(), lastLook)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		l.server.Close()
	}
	for _, s := range l.sockets { // those never served are not the server's
		s.Close()
	}
	l.serving.Wait()
}

// page is what the browser shows at the end.
type page struct {
	Done        bool
	Title, Text string
}

//go:embed page.css
var pageStyle string

//go:embed page.html
var pageHTML string

// pagePolicy lets the page do nothing but look like our style sheet.
func pagePolicy() string {
	sum := sha256.Sum256([]byte(pageStyle))
	style := "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
	return "default-src 'none'; style-src '" + style + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

func turnAway(w http.ResponseWriter, status int, text string) {
	render(w, status, page{Title: "Nothing done", Text: text})
}

func render(w http.ResponseWriter, status int, p page) {
	safe(w)
	w.Header().Set("Content-Security-Policy", pagePolicy())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, p.html())
}

// html fills the page. Its slots stand between tags, where escaping the five
// characters is enough. A template package would keep every exported method of
// the program from being left out by the linker: three megabytes, for three
// slots.
func (p page) html() string {
	class := ""
	if p.Done {
		class = "done"
	}
	safe := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")
	return strings.NewReplacer("{{title}}", safe.Replace(p.Title), "{{text}}", safe.Replace(p.Text),
		"{{class}}", class, "{{style}}", pageStyle).Replace(pageHTML)
}

// safe sets what keeps code and state from leaking (RFC 9700 §4.2.4).
func safe(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}
