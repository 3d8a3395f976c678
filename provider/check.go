package provider

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// longest is more than any real limit; a longer one is a slip of units.
const longest = 20 * 365 * day

// The words each field allows, besides empty.
var (
	authWords    = []string{"none", "post", "basic", "query", "private_key_jwt", "tls_client_auth", "custom"}
	pkceWords    = []string{"yes", "no", "required"}
	triWords     = []string{"yes", "no"}
	rotateWords  = []string{RotatesNo, RotatesAlways, RotatesSoft, RotatesSometimes, RotatesOptional, RotatesNone}
	replyWords   = []string{"same", "sibling"}
	reuseWords   = []string{"fails", "revokes"}
	bodyWords    = []string{"form", "json", "query"}
	omitWords    = []string{"response_type", "client_id", "redirect_uri", "scope"}
	outcomeWords = []string{Busy, Transient, Dead, Misconfigured, Blocked, Uncertain}
	memberWords  = []string{"access_token", "refresh_token", "expires_in", "expires_at", "refresh_token_expires_in", "scope", "token_type", "error", "error_description"}
)

// Check reports, joined, everything in p that breaks the rules of SCHEMA.md.
func (p *Provider) Check() error {
	c := checker{entry: p.Name}
	if !kebab(p.Name) {
		c.bad("name", "want lower-case letters, digits and single hyphens")
	}
	if p.Title == "" {
		c.bad("title", "missing")
	}
	for _, a := range p.Aliases {
		if a != strings.ToLower(strings.TrimSpace(a)) || a == "" || a == p.Name {
			c.bad("aliases", "%q: want lower case and not the name itself", a)
		}
	}
	c.addresses(p)
	c.parameters(p)
	c.words(p)
	c.durations(p)
	c.members(p)
	c.rules(p.Errors)
	c.sources(p.Sources)
	return errors.Join(c.problems...)
}

type checker struct {
	entry    string
	problems []error
}

func (c *checker) bad(field, format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("provider entry %s: %s: %s", c.entry, field, fmt.Sprintf(format, args...)))
}

func (c *checker) addresses(p *Provider) {
	e := p.Endpoints
	one := []string{e.Authorize, e.Token, e.Refresh, e.Device, e.Revoke, e.Introspect, e.UserInfo, e.Discovery}
	for _, u := range one {
		c.template(p, u, true)
	}
	for _, u := range e.TokenAlso {
		c.template(p, u, false)
	}
	for name, v := range p.Vars {
		if _, err := regexp.Compile(v.Pattern); err != nil {
			c.bad("vars."+name, "pattern: %v", err)
		} else if v.Default != "" && !v.matches(v.Default) {
			c.bad("vars."+name, "the default does not fit the pattern")
		}
		if v.Hint == "" {
			c.bad("vars."+name, "hint missing")
		}
	}
	for _, h := range p.Hosts {
		if !plain(h.Host) || h.Host != strings.ToLower(h.Host) || !strings.Contains(h.Host, ".") {
			c.bad("hosts", "%q: want a whole host name in lower case, without port", h.Host)
		}
		if _, err := p.TokenURL(h.Vars); err != nil && p.Endpoints.Token != "" {
			c.bad("hosts", "%s: %v", h.Host, err)
		}
	}
}

// template checks one URL template; described: its variables must be in Vars.
func (c *checker) template(p *Provider, template string, described bool) {
	filled := ""
	for rest := template; rest != ""; {
		literal, name, tail := cutVar(rest)
		filled, rest = filled+literal, tail
		if name == "" {
			continue
		}
		filled += "x"
		v, ok := p.Vars[name]
		if described && !ok {
			c.bad("endpoints", "%s: {%s} is not in vars", template, name)
		}
		if v.Optional || v.Default != "" && !v.allows(v.Default) {
			c.bad("endpoints", "%s: {%s} is optional, or its default does not fit there", template, name)
		}
		if strings.HasPrefix(tail, "{") {
			c.bad("endpoints", "%s: two variables side by side", template)
		}
	}
	u, err := url.Parse(filled)
	switch {
	case template == "":
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || strings.ContainsAny(filled, "{} "):
		c.bad("endpoints", "%q is not a URL template", template)
	case u.Scheme != "https" && !(u.Scheme == "http" && slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname())):
		c.bad("endpoints", "%s: want https (http only for this machine)", template)
	}
}

// parameters checks those of a login, which may have variables in them; those of
// a refresh may not.
func (c *checker) parameters(p *Provider) {
	for field, params := range map[string]map[string]string{
		"offline.params": p.Offline.Params, "login.params": p.Login.Params, "login.token_params": p.Login.TokenParams,
	} {
		for name, value := range params {
			for rest := value; rest != ""; {
				_, v, tail := cutVar(rest)
				if rest = tail; v == "" {
					continue
				}
				if _, ok := p.Vars[v]; !ok {
					c.bad(field, "%s: {%s} is not in vars", name, v)
				}
			}
		}
	}
	for name, value := range p.Request.Params {
		if strings.ContainsAny(value, "{}") {
			c.bad("request.params", "%s: a refresh has no variables", name)
		}
	}
	for _, name := range p.Login.Omit {
		c.word("login.omit", name, omitWords)
	}
}

func (c *checker) words(p *Provider) {
	for _, w := range p.ClientAuth {
		if w == "" {
			c.bad("client_auth", "empty word")
		}
		c.word("client_auth", w, authWords)
	}
	c.word("pkce", p.PKCE, pkceWords)
	c.word("access.endless", string(p.Access.Endless), triWords)
	c.word("access.survives_refresh", string(p.Access.SurvivesRefresh), triWords)
	c.word("refresh.rotates", p.Refresh.Rotates, rotateWords)
	c.word("refresh.grace_reply", p.Refresh.GraceReply, replyWords)
	c.word("refresh.reuse", p.Refresh.Reuse, reuseWords)
	c.word("request.body", p.Request.Body, bodyWords)
}

func (c *checker) word(field, w string, allowed []string) {
	if w != "" && !slices.Contains(allowed, w) {
		c.bad(field, "%q: want one of %s", w, strings.Join(allowed, ", "))
	}
}

func (c *checker) durations(p *Provider) {
	for field, d := range map[string]Duration{
		"access.lifetime": p.Access.Lifetime, "access.default_lifetime": p.Access.DefaultLifetime,
		"access.refresh_within": p.Access.RefreshWithin, "access.refresh_after": p.Access.RefreshAfter,
		"refresh.grace": p.Refresh.Grace, "refresh.idle": p.Refresh.Idle, "refresh.absolute": p.Refresh.Absolute,
	} {
		c.duration(field, d)
	}
	if p.Refresh.Grace > Duration(30*day) {
		c.bad("refresh.grace", "longer than 30 days")
	}
}

func (c *checker) duration(field string, d Duration) {
	if d != 0 && (time.Duration(d) < time.Second || time.Duration(d) > longest) {
		c.bad(field, "%v is not between a second and 20 years", d)
	}
}

func (c *checker) members(p *Provider) {
	for standard, here := range p.Answer.Members {
		c.word("answer.members", standard, memberWords)
		if here == "" {
			c.bad("answer.members", "%s: empty", standard)
		}
	}
	if p.Answer.Pointer != "" && !strings.HasPrefix(p.Answer.Pointer, "/") {
		c.bad("answer.pointer", "want a JSON pointer, which begins with a slash")
	}
}

func (c *checker) rules(rules []ErrorRule) {
	seen := map[string]bool{}
	for _, r := range rules {
		field := "errors." + r.ID
		if !kebab(r.ID) || seen[r.ID] {
			c.bad(field, "want an id of its own in lower case with hyphens")
		}
		seen[r.ID] = true
		if !slices.Contains(outcomeWords, r.Outcome) {
			c.bad(field, "outcome %q: want one of %s", r.Outcome, strings.Join(outcomeWords, ", "))
		}
		if r.Outcome == Dead && (r.Status == 5 || r.Status >= 500 || r.Error == "" && r.Description == "") {
			c.bad(field, "dead needs the provider's own word, and never comes with a 5xx")
		}
		if s := r.Status; s != 0 && s != 3 && s != 5 && (s < 200 || s > 599) {
			c.bad(field, "status %d: want 3, 5 or 200 to 599", s)
		}
		if r.Status == 0 && r.Error == "" && r.Description == "" {
			c.bad(field, "matches every answer")
		}
		if r.Says == "" || r.Do == "" {
			c.bad(field, "says and do must tell what happened and what to do")
		}
		c.duration(field, r.RetryAfter)
	}
}

func (c *checker) sources(sources []Source) {
	for _, s := range sources {
		if s.Name == "" {
			c.bad("sources", "a source has no name")
		}
		if _, err := time.Parse(time.DateOnly, s.Date); s.Date != "" && err != nil {
			c.bad("sources", "date %q: want YYYY-MM-DD", s.Date)
		}
		if s.URL != "" && !strings.HasPrefix(s.URL, "https://") {
			c.bad("sources", "%q: want an https URL", s.URL)
		}
	}
}

// kebab reports whether s is made of lower-case letters, digits and single
// hyphens between them.
func kebab(s string) bool {
	for _, c := range s {
		if c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && s[0] != '-' && s[len(s)-1] != '-' && !strings.Contains(s, "--")
}
