package login

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"

	"github.com/evergrant/evergrant/oauth"
)

// PasteFunc reads what a person pasted. It must return when ctx ends; see
// [PasteFrom].
type PasteFunc func(ctx context.Context) (string, error)

// PasteFrom reads lines of at most 256 KiB, from a terminal for instance, which
// itself may cut a line at 4 KiB. A read that is under way when the login ends
// goes on and takes one line more: nothing can stop the read of a terminal. The
// error is io.EOF at the end.
func PasteFrom(r io.Reader) PasteFunc {
	lines, failed := make(chan string), make(chan error, 1)
	start := sync.OnceFunc(func() {
		go func() {
			s := bufio.NewScanner(r)
			s.Buffer(nil, maxPosted)
			for s.Scan() {
				lines <- s.Text()
			}
			failed <- cmp.Or(s.Err(), io.EOF)
		}()
	})
	return func(ctx context.Context) (string, error) {
		start()
		select {
		case line := <-lines:
			return line, nil
		case err := <-failed:
			failed <- err // for the next caller
			return "", err
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// Browser logs in with a browser on this machine (RFC 8252): it listens on a
// loopback address, shows and opens the URL, waits for the callback, and
// redeems the code. With Config.Paste it takes the pasted address as well,
// whichever comes first.
//
// Errors are *[Error], or the cause of ctx's end.
func Browser(ctx context.Context, c Config) (*Grant, error) {
	srv, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	if c.ResponseMode == "fragment" {
		return nil, usage("a listener never sees what comes in the fragment", "use the response mode query or form_post, or paste the address")
	}
	l, err := listen(c.Redirect)
	if err != nil {
		return nil, err
	}
	defer l.close()
	a, err := newAttempt(&c, srv, l.redirectURI())
	if err != nil {
		return nil, err
	}
	return a.run(ctx, l)
}

// Paste logs in with a browser anywhere: it shows the URL, and Config.Paste
// reads the address at which the browser ended, or "code#state". Nothing
// listens, so the browser ends at an error page where the redirect is a
// loopback address; Redirect.Port should be set then, as a registration may
// want it. Errors are those of [Browser].
func Paste(ctx context.Context, c Config) (*Grant, error) {
	srv, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	if c.Paste == nil {
		return nil, usage("nothing here can read a pasted address", "set Config.Paste")
	}
	uri, err := c.Redirect.unheard()
	if err != nil {
		return nil, err
	}
	a, err := newAttempt(&c, srv, uri)
	if err != nil {
		return nil, err
	}
	return a.run(ctx, nil)
}

func (c *Config) begin(ctx context.Context) (Server, error) {
	if err := c.check(); err != nil {
		return Server{}, err
	}
	s, err := c.server()
	if err != nil {
		return s, err
	}
	return c.learn(ctx, s), nil
}

// run shows the URL, waits for the callback by either way, and redeems. l is
// nil where nothing listens.
func (a *attempt) run(ctx context.Context, l *listener) (*Grant, error) {
	if err := a.prepare(ctx); err != nil {
		return nil, err
	}
	link, err := a.frontURL(ctx)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeoutCause(ctx, a.cfg.timeout(), errTime)
	defer cancel()
	due, _ := wait.Deadline()
	a.prompt = Prompt{URL: link, Expires: due.UTC(), Listening: l != nil}
	ways := &ways{parse: a.parse, rejected: a.rejected, results: make(chan result, 1)}
	defer ways.stop()
	if l != nil {
		l.serve(ways)
	}
	a.invite()
	if a.cfg.Paste != nil {
		ways.paste(wait, a.cfg.Paste, l == nil)
	}
	r := ways.await(wait)
	if r.err != nil {
		err = a.ended(ctx, r.err)
	}
	var g *Grant
	if err == nil {
		g, err = a.redeem(ctx, r.cb)
	}
	if l != nil {
		l.finish(ctx, err, r.browser)
	}
	return g, err
}

// invite opens the browser and tells the person, in this order: what is shown
// can say then what happened.
func (a *attempt) invite() {
	var err error
	if a.cfg.Open != nil {
		err = a.cfg.Open(a.prompt.URL)
	}
	a.tell(func(p *Prompt) { p.Opened, p.Problem = a.cfg.Open != nil && err == nil, err })
}

// rejected tells the person that something came that is not the answer.
func (a *attempt) rejected(err error) { a.tell(func(p *Prompt) { p.Problem = err }) }

// tell shows the prompt, changed. mu is held over it: one call at a time is
// what Config.Show promises.
func (a *attempt) tell(change func(*Prompt)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.prompt)
	a.cfg.show(a.prompt)
}

// parse reads a callback's parameters, signed or not.
func (a *attempt) parse(form string) (*oauth.Callback, error) {
	if a.signer == nil {
		return oauth.ParseCallback(form, a.want)
	}
	signed, err := url.ParseQuery(form)
	if err != nil || len(signed["response"]) != 1 {
		return nil, fmt.Errorf("%w: it is not signed", oauth.ErrStray)
	}
	params, err := a.signer.VerifyResponse(signed.Get("response"), time.Now())
	if err != nil { // anybody could have sent it
		return nil, fmt.Errorf("%w: %w", oauth.ErrStray, err)
	}
	return oauth.ParseCallback(params.Encode(), a.want)
}

var errTime = errors.New("nobody came back in time")

// ended gives the end of waiting its meaning.
func (a *attempt) ended(ctx context.Context, err error) error {
	var refused *oauth.ServerError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errTime):
		e := &Error{Kind: Expired, Says: fmt.Sprintf("no browser came back within %s", a.cfg.timeout().Round(time.Second)), Do: "log in again, and finish in the browser"}
		if a.cfg.Redirect.Port == 0 && a.cfg.Redirect.URI == "" { // a new one each time, which some providers do not take
			e.Do += "; if the page there refused the redirect address, register one with a port at the provider, and log in with that port"
		}
		return e
	case errors.As(err, &refused):
		return failure("the login was not approved", err)
	case errors.Is(err, oauth.ErrIssuer):
		return &Error{Kind: Untrusted, Says: "the browser came back with an answer that is not this server's", Do: "don't go on with this login; check the issuer", Err: err}
	}
	return failure("waiting for the browser", err)
}

// ways are the ways by which a callback can come: listener and paste. The first
// final one wins.
type ways struct {
	parse    func(form string) (*oauth.Callback, error)
	rejected func(error)
	results  chan result   // holds the winner, then stays full
	pasting  chan struct{} // closed when nobody reads any more; nil: nobody did
	unread   context.CancelFunc
}

// result is a callback or why there is none. browser says that a browser is
// waiting to be told the outcome.
type result struct {
	cb      *oauth.Callback
	err     error
	browser bool
}

// verdict on what came.
type verdict int

const (
	accepted verdict = iota // it ends the wait, for good or bad
	strayed                 // it is none of this login's
	late                    // one was accepted before
)

// offer hands in what came.
func (w *ways) offer(r result) verdict {
	if errors.Is(r.err, oauth.ErrStray) {
		w.rejected(r.err)
		return strayed
	}
	select {
	case w.results <- r:
		return accepted
	default:
		return late
	}
}

// await returns the first final callback.
func (w *ways) await(ctx context.Context) result {
	select {
	case r := <-w.results:
		w.results <- r // the place stays taken: a second callback is late
		return r
	case <-ctx.Done():
		return result{err: context.Cause(ctx)}
	}
}

// paste asks for pasted text until one fits or the reading ends. Where it is
// the only way, the end of reading ends the login.
func (w *ways) paste(ctx context.Context, read PasteFunc, only bool) {
	ctx, w.unread = context.WithCancel(ctx)
	w.pasting = make(chan struct{})
	go func() {
		defer close(w.pasting)
		for ctx.Err() == nil {
			text, err := read(ctx)
			if err != nil {
				if only && ctx.Err() == nil {
					w.offer(result{err: &Error{Kind: Usage, Says: "the pasted address can't be read", Err: err}})
				}
				return
			}
			if w.offer(w.pasted(text)) != strayed {
				return
			}
		}
	}()
}

func (w *ways) pasted(text string) (r result) {
	var form string
	if form, r.err = oauth.PastedForm(text); r.err == nil {
		r.cb, r.err = w.parse(form)
	}
	return r
}

// stop ends the reading and waits for it.
func (w *ways) stop() {
	if w.pasting != nil {
		w.unread()
		<-w.pasting
	}
}
