package provider

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// VarError reports a template variable without a usable value.
type VarError struct {
	// Provider is the entry's name, Var the variable, Hint what belongs there.
	Provider, Var, Hint string
	// Value is what was given; empty when nothing was.
	Value string
}

// Error names the variable and says what to put there.
func (e *VarError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("provider %s needs a value for %q: %s", e.Provider, e.Var, e.Hint)
	}
	return fmt.Sprintf("provider %s can't use %q for %q: %s", e.Provider, e.Value, e.Var, e.Hint)
}

// TokenURL builds the token endpoint. Missing variables take their default; a
// variable without a value or with an unusable one gives a *VarError.
func (p *Provider) TokenURL(vars map[string]string) (string, error) {
	if p.Endpoints.Token == "" {
		return "", fmt.Errorf("provider %s has no token URL of its own: give the token URL", p.Name)
	}
	return p.Expand(p.Endpoints.Token, vars)
}

// RefreshURL builds the address for refresh requests, which for a few
// providers is not the token endpoint. Errors are those of TokenURL.
func (p *Provider) RefreshURL(vars map[string]string) (string, error) {
	if p.Endpoints.Refresh == "" {
		return p.TokenURL(vars)
	}
	return p.Expand(p.Endpoints.Refresh, vars)
}

// Renames maps the provider's names of members to the standard's, as far as they
// stand where the standard has them; nil if none has another name.
func (a Answer) Renames() map[string]string {
	var names map[string]string
	for standard, here := range a.Members {
		if here == "" || strings.HasPrefix(here, "/") {
			continue
		}
		if names == nil {
			names = map[string]string{}
		}
		names[here] = standard
	}
	return names
}

// VarsIn reads the values of the variables back out of a token URL that was
// built from the entry's own template; nil if it was not.
func (p *Provider) VarsIn(tokenURL string) map[string]string {
	for _, template := range []string{p.Endpoints.Token, p.Endpoints.Refresh} {
		if vars, ok := fits(template, tokenURL); ok && template != "" {
			return vars
		}
	}
	return nil
}

// Moved is the token URL to which variables lead away from one that was built from
// the entry's own template: their values take the place of others in it. It is the
// same URL, and false, where none does.
func (p *Provider) Moved(tokenURL string, vars map[string]string) (string, bool) {
	all, elsewhere := p.VarsIn(tokenURL), false
	for name, value := range vars {
		if was := all[name]; was != "" && was != value {
			all[name], elsewhere = value, true
		}
	}
	if u, err := p.RefreshURL(all); elsewhere && err == nil {
		return u, true
	}
	return tokenURL, false
}

// Expand fills the variables of one endpoint template of p, and an empty
// template gives an empty URL. Values can't leave their place in the URL: they
// hold no slash, question mark, at sign, colon or space.
func (p *Provider) Expand(template string, vars map[string]string) (string, error) {
	var out strings.Builder
	for rest := template; rest != ""; {
		literal, name, tail := cutVar(rest)
		out.WriteString(literal)
		if rest = tail; name == "" {
			continue
		}
		v, err := p.value(name, vars)
		if err != nil {
			return "", err
		}
		out.WriteString(v)
	}
	return out.String(), nil
}

// Params fills the variables in the values of parameters, and leaves out those
// that name an optional one without a value. Errors are those of TokenURL.
// Values may be any printable text here: a parameter is escaped on its way.
func (p *Provider) Params(templates, vars map[string]string) (map[string]string, error) {
	out := map[string]string{}
	for param, template := range templates {
		value, ok, err := p.text(template, vars)
		if err != nil {
			return nil, err
		}
		if ok {
			out[param] = value
		}
	}
	return out, nil
}

// text fills one value; false if an optional variable in it has none.
func (p *Provider) text(template string, vars map[string]string) (string, bool, error) {
	var out strings.Builder
	for rest := template; rest != ""; {
		literal, name, tail := cutVar(rest)
		out.WriteString(literal)
		if rest = tail; name == "" {
			continue
		}
		def := p.Vars[name]
		v := cmp.Or(vars[name], def.Default)
		switch {
		case v == "" && def.Optional:
			return "", false, nil
		case v == "" || !printable(v) || !def.matches(v):
			return "", false, &VarError{Provider: p.Name, Var: name, Hint: def.Hint, Value: v}
		}
		out.WriteString(v)
	}
	return out.String(), true, nil
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// cutVar splits "lit{name}tail". Without a variable everything is literal.
func cutVar(s string) (literal, name, tail string) {
	literal, after, found := strings.Cut(s, "{")
	if !found {
		return s, "", ""
	}
	name, tail, _ = strings.Cut(after, "}")
	return literal, name, tail
}

func (p *Provider) value(name string, vars map[string]string) (string, error) {
	def := p.Vars[name]
	v := vars[name]
	if v == "" {
		v = def.Default
	}
	if v == "" || !def.allows(v) {
		return "", &VarError{Provider: p.Name, Var: name, Hint: def.Hint, Value: v}
	}
	return v, nil
}

// allows also applies the plain character set under a pattern, so that no
// pattern can let a value out of its place.
func (v Var) allows(s string) bool {
	return plain(s) && v.matches(s)
}

func (v Var) matches(s string) bool {
	if v.Pattern == "" {
		return true
	}
	re, err := regexp.Compile(`^(?:` + v.Pattern + `)$`)
	return err == nil && re.MatchString(s)
}

// plain reports whether s is made of letters, digits, dots, hyphens and
// underscores and does not begin or end with a dot or hold two in a row.
func plain(s string) bool {
	for _, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("._-", c):
		default:
			return false
		}
	}
	return s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

// fits reports whether s is template with plain values in place of its
// variables, and returns them. Literals between variables are found at their
// first occurrence, which is enough as no template has two variables side by
// side or one whose value can hold the next literal's slash.
func fits(template, s string) (map[string]string, bool) {
	literal, name, tail := cutVar(template)
	s, ok := strings.CutPrefix(s, literal)
	if !ok || name == "" {
		return map[string]string{}, ok && s == ""
	}
	next, _, _ := cutVar(tail)
	for end := 1; end <= len(s); end++ {
		if !strings.HasPrefix(s[end:], next) {
			continue
		}
		if vars, ok := fits(tail, s[end:]); ok && plain(s[:end]) {
			vars[name] = s[:end]
			return vars, true
		}
	}
	return nil, false
}

// anchored reports whether a template names enough of its host to recognise
// a provider by: at least the last two labels must be literal.
func anchored(template string) bool {
	rest := strings.TrimPrefix(template, "https://")
	host, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '}'); i >= 0 {
		host = host[i+1:]
		return strings.HasPrefix(host, ".") && strings.Count(host, ".") >= 2
	}
	return strings.Contains(host, ".")
}

// canonical brings a URL into the form templates are compared in: https, host
// in lower case without the default port, no trailing slash. URLs with a user,
// query or fragment are refused.
func canonical(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return "", false
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	return "https://" + host + strings.TrimSuffix(u.EscapedPath(), "/"), true
}
