package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

// partingTime is how long requests in flight may go on after the signal to end.
const partingTime = 5 * time.Second

// proxyFlags are the flags of the proxy alone.
type proxyFlags struct {
	listen, upstream string
	origins          []string
}

func proxyCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var f proxyFlags
	cmd := &cobra.Command{
		Use:   "proxy TARGET --upstream URL",
		Short: "Serve an API on this machine with the access token added",
		Long: `Listen on this machine and pass every request on to the API at --upstream with a
valid access token. A request that the API answers with 401 because of the token
is made once more with a new one, if its body is no more than 1 MiB so far; if
not, the 401 is passed on, and the next request has the new token. Bodies are
streamed both ways, WebSockets and server-sent events included.

The token goes to the upstream only: redirects are passed on, not followed. An
Authorization header of the client is replaced, so a program that insists on a
key can be given any. Forwarded and X-Forwarded-* headers are dropped; cookies
are passed on as they are. An Origin that is the proxy's own becomes the API's.

Whoever can connect can use the grant: every program on this machine. Web pages
cannot: a request for another Host, or of another Origin than the proxy's own and
those given with --allow-origin, is answered 403. Only loopback addresses are
listened on, and a plain http upstream must be one.

The address is printed on stdout once it can be used. The proxy ends on SIGINT or
SIGTERM; requests in flight have five seconds. With -v each request is a line on
stderr, without its query.

` + exitCodes,
		Example: "  evergrant proxy token.json --upstream https://api.example.com --listen 127.0.0.1:8080\n" +
			"  curl http://127.0.0.1:8080/v1/me",
		Args: takes(1, 1, "evergrant proxy TARGET --upstream URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runProxy(cmd.Context(), t, args[0], f)
		},
	}
	t.identify(cmd)
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:0", "loopback `address` to listen on; port 0 picks a free one")
	cmd.Flags().StringVar(&f.upstream, "upstream", "", "`URL` of the API that the token is for; a path in it is put before the request's")
	cmd.Flags().Var((*list)(&f.origins), "allow-origin", "`origin` of a web page that may use the proxy, such as http://localhost:5173; repeatable")
	return cmd
}

func runProxy(ctx context.Context, t *target, name string, f proxyFlags) error {
	upstream, err := upstreamURL(f.upstream)
	if err != nil {
		return err
	}
	cas, err := readCAs(t.caCert)
	if err != nil {
		return err
	}
	// What is in flight may need a token after the signal: closed below.
	src, err := t.open(context.WithoutCancel(ctx), name, nil)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := sayHurdle(ctx, t.u, src); err != nil {
		return err
	}
	l, err := listenLoopback(f.listen)
	if err != nil {
		return err
	}
	base := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: cas}, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 10 * time.Second, ExpectContinueTimeout: time.Second, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 100,
		DisableCompression: true, // what the client did not ask for it may not understand
	}
	defer base.CloseIdleConnections()
	p := newProxy(src.Client(evergrant.ClientOptions{Hosts: []string{upstream.Host}, Base: base}).Transport, upstream, l.Addr(), f.origins)
	p.u, p.verbose = t.u, t.verbose
	if err := p.announce(l.Addr()); err != nil {
		return errors.Join(err, l.Close())
	}
	return p.serve(ctx, l)
}

// sayHurdle tells why a refresh would not be made: at once what can't work, as
// a warning what somebody may mend while the proxy runs.
func sayHurdle(ctx context.Context, u *ui, src *evergrant.Source) error {
	plan, err := src.Plan(ctx)
	if err != nil {
		return err
	}
	if p := plan.Problem; p != nil {
		if errors.Is(p, evergrant.ErrUsage) || errors.Is(p, evergrant.ErrFile) {
			return p
		}
		u.warn(p.Error(), p.Do)
	}
	return nil
}

// upstreamURL checks --upstream. Its text is not repeated: it may hold what
// does not belong there.
func upstreamURL(text string) (*url.URL, error) {
	const hint = "give it as --upstream https://api.example.com, with a path if all requests go below one"
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, usageError{errors.New("--upstream is missing"), hint}
	case err != nil || u.Hostname() == "":
		return nil, usageError{errors.New("--upstream is no URL with a host"), hint}
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, usageError{errors.New("--upstream has more than scheme, host, port and path"), hint}
	case u.Scheme == "http" && !loopbackName(u.Hostname()):
		return nil, usageError{errors.New("--upstream would send the token unencrypted"), "use https; plain http is for this machine only"}
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, usageError{errors.New("--upstream is neither https nor http"), hint}
	}
	return u, nil
}

// loopbackName reports whether a host is this machine by its name alone.
func loopbackName(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

func listenLoopback(addr string) (*net.TCPListener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, usageError{fmt.Errorf("--listen %s is no address with a port", addr), "give one such as 127.0.0.1:8080"}
	}
	if !loopbackName(host) {
		return nil, usageError{fmt.Errorf("--listen %s would let other machines use the grant", addr), "listen on 127.0.0.1 or [::1]"}
	}
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1" // a resolver could name another machine's address
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, usageError{fmt.Errorf("listening on %s: %w", addr, err), "choose another address with --listen"}
	}
	return l.(*net.TCPListener), nil
}

// proxy passes requests on to one upstream. It is used once: serve ends it.
type proxy struct {
	u       *ui
	verbose bool
	forward *httputil.ReverseProxy
	parting time.Duration
	prefix  bool     // the upstream has a path that requests must stay below
	hosts   []string // that requests may name
	origins []string // that requests may come from, its own excepted

	mu      sync.Mutex
	ended   bool
	said    string         // the last failure, so that it is said once
	running sync.WaitGroup // requests; upgraded connections too, which http.Server does not wait for
}

func newProxy(transport http.RoundTripper, upstream *url.URL, at net.Addr, origins []string) *proxy {
	p := &proxy{parting: partingTime, hosts: ownHosts(at), origins: origins, prefix: strings.Trim(upstream.Path, "/") != ""}
	p.forward = &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorHandler: p.failed, ErrorLog: p.log(),
		Rewrite: func(r *httputil.ProxyRequest) { p.rewrite(r, upstream) },
	}
	return p
}

// ownHosts are the names of a listening address. A page of a foreign name that
// resolves to it (DNS rebinding) is known by its name.
func ownHosts(at net.Addr) []string {
	addr := netip.MustParseAddrPort(at.String())
	port := strconv.Itoa(int(addr.Port()))
	var list []string
	for _, host := range []string{addr.Addr().String(), "127.0.0.1", "::1", "localhost"} {
		list = append(list, net.JoinHostPort(host, port))
		if port == "80" {
			list = append(list, strings.TrimSuffix(net.JoinHostPort(host, port), ":80"))
		}
	}
	return list
}

func (p *proxy) announce(at net.Addr) error {
	base := "http://" + at.String()
	if p.u.json {
		return p.u.record(map[string]string{"url": base})
	}
	return p.u.now("listening on %s\n", base)
}

// serve serves until ctx ends, and then lets requests in flight end.
func (p *proxy) serve(ctx context.Context, l *net.TCPListener) error {
	base, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var ways http.Protocols
	ways.SetHTTP1(true)
	ways.SetUnencryptedHTTP2(true) // gRPC
	srv := &http.Server{
		Handler: p, Protocols: &ways, ErrorLog: p.log(), BaseContext: func(net.Listener) context.Context { return base }, ConnContext: withConn,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(lingerListener{l}) }()
	var err error
	select {
	case err = <-ended:
		err = fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	p.part(srv, end)
	return err
}

// part ends the server: idle connections now, others when they are done, all
// when the time is up.
func (p *proxy) part(srv *http.Server, end func()) {
	ctx, cancel := context.WithTimeout(context.Background(), p.parting)
	defer cancel()
	srv.Shutdown(ctx)
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	done := make(chan struct{})
	go func() { p.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	end()
	srv.Close()
	<-done
}

// enter counts a request in, unless the proxy has ended.
func (p *proxy) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return false
	}
	p.running.Add(1)
	return true
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.enter() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer p.running.Done()
	began, rec := time.Now(), &recorder{ResponseWriter: w}
	defer func() { p.noteRequest(r, rec, time.Since(began)) }()
	if says := p.refuses(r); says != "" {
		answer(rec, http.StatusForbidden, says, "")
		return
	}
	body := &incoming{ReadCloser: r.Body}
	body.ended.Store(r.ContentLength == 0)
	defer body.settle(r)
	// Else net/http throws away what it has not read when the answer begins.
	// What can't do it has no need of it.
	http.NewResponseController(rec).EnableFullDuplex()
	out := r.WithContext(r.Context())
	out.Body = body
	p.forward.ServeHTTP(rec, out)
}

// refuses says why a request is none of a program on this machine that means
// the upstream; "" if it is one.
func (p *proxy) refuses(r *http.Request) string {
	switch {
	case r.Method == http.MethodConnect:
		return "this is no forward proxy"
	case r.Method == http.MethodTrace: // it shows its sender the whole request (RFC 9110 §9.3.8)
		return "TRACE would give the token away"
	case !slices.Contains(p.hosts, strings.ToLower(r.Host)):
		return "the request names another host than this proxy"
	case !p.mayCome(r):
		return "the request comes from a web page of another origin"
	case r.URL.Opaque != "": // sent as it is, "http:http://other.example/" names another host to the upstream (RFC 9112 §3.2.2)
		return "the request's target is neither a path nor a URL of this proxy"
	case p.prefix && climbs(r.URL.Path):
		return "the path leads out of the upstream's"
	}
	return ""
}

// mayCome reports whether no web page, or one that may, made the request. Pages
// make some requests without an Origin (images, links); current browsers mark
// these by Sec-Fetch-Site (W3C Fetch Metadata §2.3).
func (p *proxy) mayCome(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	for _, o := range origins {
		if !p.ownOrigin(o) && !slices.ContainsFunc(p.origins, func(a string) bool { return strings.EqualFold(a, o) }) {
			return false
		}
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return len(origins) > 0 || site == "" || site == "same-origin" || site == "none"
}

func (p *proxy) ownOrigin(origin string) bool {
	host, ok := strings.CutPrefix(strings.ToLower(origin), "http://")
	return ok && slices.Contains(p.hosts, host)
}

// climbs reports whether a server that tidies a decoded path may leave the
// folder it begins in. Clients tidy it themselves (RFC 3986 §6.2.2.3).
func climbs(path string) bool {
	for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part, _, _ = strings.Cut(part, ";"); part == ".." {
			return true
		}
	}
	return false
}

// trustHeaders are set by reverse proxies for the servers behind them. A
// client's own are not passed on: the API might believe them (RFC 9700 §4.13).
var trustHeaders = []string{"Forwarded", "X-Real-Ip", "Client-Cert", "Client-Cert-Chain"}

// rewrite makes the request to the upstream out of the client's. The token is
// added below, by the transport.
func (p *proxy) rewrite(r *httputil.ProxyRequest, upstream *url.URL) {
	r.SetURL(upstream)
	r.Out.URL.RawQuery = r.In.URL.RawQuery // ReverseProxy drops what it can't parse; the API may
	r.Out.Trailer = r.In.Trailer           // filled while the body is read
	for name := range r.Out.Header {
		if slices.Contains(trustHeaders, name) || strings.HasPrefix(name, "X-Forwarded-") {
			r.Out.Header.Del(name)
		}
	}
	r.Out.Header.Del("Authorization")
	r.Out.Header.Del("Dpop") // the proof of a token that is not sent (RFC 9449 §4)
	if p.ownOrigin(r.Out.Header.Get("Origin")) {
		r.Out.Header.Set("Origin", upstream.Scheme+"://"+upstream.Host)
	}
	if r.Out.Body != nil {
		s := &spool{from: r.Out.Body}
		r.Out.Body, _ = s.again() // the first reading never fails
		r.Out.GetBody = s.again
	}
}

// failed answers a request for which there was no token or no upstream.
func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadGateway
	e := new(evergrant.Error)
	switch {
	case r.Context().Err() != nil:
		w.WriteHeader(status) // nobody reads it
		return
	case errors.As(err, &e) && (errors.Is(e, evergrant.ErrTemporary) || errors.Is(e, evergrant.ErrClosed)):
		status = http.StatusServiceUnavailable
		if e.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
		}
	case e.Class == nil:
		err = usageError{fmt.Errorf("reaching the upstream: %w", err), "check --upstream and the network"}
	}
	p.say(err)
	f := failure(err)
	answer(w, status, f.Error, f.Hint)
}

// say prints a failure unless it is the one printed last.
func (p *proxy) say(err error) {
	p.mu.Lock()
	again := p.said == err.Error()
	p.said = err.Error()
	p.mu.Unlock()
	if !again {
		p.u.fail(err)
	}
}

// answer writes an answer of the proxy's own.
func answer(w http.ResponseWriter, status int, says, do string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintf(w, "evergrant: %s\n", printable(says))
	if do != "" {
		fmt.Fprintf(w, "hint: %s\n", printable(do))
	}
}

// log takes what net/http has to say, for -v.
func (p *proxy) log() *log.Logger { return log.New(netLog{p}, "", 0) }

type netLog struct{ p *proxy }

// Write implements io.Writer.
func (l netLog) Write(line []byte) (int, error) {
	if l.p.verbose {
		l.p.u.line("evergrant: " + strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// noteRequest writes the line of the access log. The query stays out: some APIs
// take secrets there.
func (p *proxy) noteRequest(r *http.Request, w *recorder, took time.Duration) {
	if !p.verbose {
		return
	}
	took = took.Round(time.Millisecond)
	if p.u.json {
		p.u.jsonLine(map[string]any{"method": r.Method, "path": r.URL.EscapedPath(), "status": w.status, "bytes": w.bytes, "took_s": took.Seconds()})
		return
	}
	p.u.line(fmt.Sprintf("%s %s %d %d bytes %s", r.Method, r.URL.EscapedPath(), w.status, w.bytes, took))
}

// recorder notes what the access log tells of an answer.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Unwrap serves http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Hijack implements http.Hijacker, which an upgrade uses.
func (w *recorder) Hijack() (c net.Conn, rw *bufio.ReadWriter, err error) {
	w.status = http.StatusSwitchingProtocols
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
