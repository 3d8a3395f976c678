package tokenfile

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The layouts Open recognises.
const (
	// LayoutTokenResponse is a token answer (RFC 6749 §5.1), perhaps with
	// more members around it. A new file of that kind may lack access_token.
	LayoutTokenResponse = "token-response"
	// LayoutOAuth2 is golang.org/x/oauth2's Token: a token response whose
	// expiry is a time in RFC 3339.
	LayoutOAuth2 = "x/oauth2"
	// LayoutGoogle is Google's authorized_user: as Python's google-auth writes
	// it, with the access token under "token", or as gcloud's application
	// default credentials, which have no access token at first: it is added
	// like any new member, so that all processes share it.
	LayoutGoogle = "google-authorized-user"
	// LayoutCustom is what the caller's Fields describe.
	LayoutCustom = "custom"
)

// Fields says where members live that the file keeps deeper or under other
// names: from the canonical name, as in a token answer (access_token,
// refresh_token, expires_at …), to a JSON pointer (RFC 6901). Empty means that
// the layout is recognised.
//
// The object that holds the access token is the one new members go to. Where
// the access token has another name than access_token, the object follows some
// other convention: then only members named in Fields, a refresh_token member,
// and the known members for times of that object are written, and nothing is
// added but a refresh token that would be lost otherwise.
type Fields map[string]string

// A File is a token file whose members were found. It is immutable: Merge
// returns another File. It is safe for concurrent use.
type File struct {
	doc    *Doc
	fields Fields
	layout string
	holder *container // the object that holds the access token
	at     jsontext.Pointer
	mapped map[string]mapping // by canonical name: members in another place
	closed bool               // only mapped members and clocks are written
	clocks []clock

	access, refresh string // read once: they are compared all the time
}

// A mapping is the place of a member that is not found by its canonical name
// in the holder.
type mapping struct {
	pointer jsontext.Pointer
	site    site
}

// Open reads a token file. It returns a *[FormatError] if b is not one JSON
// object, if a member that matters occurs twice, if a token is neither string
// nor null, or if the file has no token member at all; and another error if a
// pointer of f can't be used.
func Open(b []byte, f Fields) (*File, error) {
	d, err := Parse(b)
	if err != nil {
		return nil, err
	}
	return open(d, maps.Clone(f))
}

func open(d *Doc, fields Fields) (*File, error) {
	f := &File{doc: d, fields: fields, holder: &d.root, mapped: map[string]mapping{}}
	if err := f.mapFields(); err != nil {
		return nil, err
	}
	f.recognise()
	if err := f.refuseTwins(); err != nil {
		return nil, err
	}
	f.clocks = f.findClocks()
	f.access, f.refresh = f.Text("access_token"), f.Text("refresh_token")
	return f, f.checkTokens()
}

// Doc returns the document of the file.
func (f *File) Doc() *Doc { return f.doc }

// Bytes returns the file in its own encoding. The caller must not change it.
func (f *File) Bytes() []byte { return f.doc.Bytes() }

// Layout returns which of the layouts above the file has.
func (f *File) Layout() string { return f.layout }

// AccessToken returns the access token, "" if it is absent, null or empty.
func (f *File) AccessToken() string { return f.access }

// RefreshToken returns the refresh token, "" if it is absent, null or empty.
func (f *File) RefreshToken() string { return f.refresh }

// HasRefreshMember tells an absent refresh token from one that is null or "".
func (f *File) HasRefreshMember() bool { return f.site("refresh_token").exists() }

// Text returns the member of a canonical name (scope, instance_url, id,
// client_id …) through the layout: strings as what they stand for, numbers and
// booleans as their literal, an array of strings joined by spaces (a scope
// list). It is "" for members that are absent, null or anything else.
func (f *File) Text(name string) string {
	s := f.site(name)
	if !s.exists() && name == "scope" {
		s = f.site("scopes")
	}
	return f.doc.value(s).words()
}

func (v Value) words() string {
	switch v.Kind() {
	case 't', 'f':
		return string(v.raw)
	case '[':
		return joinStrings(v.raw)
	}
	s, _ := v.Text()
	return s
}

// joinStrings returns the strings of an array, or "" if it has other elements.
func joinStrings(raw []byte) string {
	c, err := scanNested(raw, 0, len(raw))
	if err != nil {
		return ""
	}
	words := make([]string, 0, len(c.members))
	for _, m := range c.members {
		v := Value{raw[m.start:m.end]}
		s, ok := v.Text()
		if !ok || v.Kind() != '"' {
			return ""
		}
		words = append(words, s)
	}
	return strings.Join(words, " ")
}

// site returns where a canonical member is, or would be added.
func (f *File) site(name string) site {
	if m, ok := f.mapped[name]; ok {
		return m.site
	}
	i, _ := f.holder.find(name)
	return site{f.holder, i}
}

func (f *File) pointer(name string) string {
	if m, ok := f.mapped[name]; ok {
		return string(m.pointer)
	}
	return string(f.at.AppendToken(name))
}

// claimed reports whether writing a member would write where the caller has
// put another one, or around it.
func (f *File) claimed(name string, s site) bool {
	for other, m := range f.mapped {
		if other == name {
			continue
		}
		if string(m.pointer) == f.pointer(name) {
			return true
		}
		if s.exists() && s.member().contains(m.site) {
			return true
		}
	}
	return false
}

func (f *File) isMapped(name string) bool {
	_, ok := f.mapped[name]
	return ok
}

// mapFields resolves the caller's pointers.
func (f *File) mapFields() error {
	owner := make(map[string]string, len(f.fields))
	for _, name := range slices.Sorted(maps.Keys(f.fields)) {
		pointer := f.fields[name]
		if other, taken := owner[pointer]; taken {
			return fmt.Errorf("fields %s and %s have the same pointer %s", other, name, pointer)
		}
		owner[pointer] = name
		if err := f.mapField(name, pointer); err != nil {
			return err
		}
	}
	m, ok := f.mapped["access_token"]
	if !ok {
		return nil
	}
	f.holder, f.at = m.site.parent, m.pointer.Parent()
	f.closed = m.pointer.LastToken() != "access_token"
	return nil
}

func (f *File) mapField(name, pointer string) error {
	s, err := f.doc.resolve(pointer)
	if err != nil {
		return fmt.Errorf("field %s: %w", name, err)
	}
	if s.parent == nil {
		return &FormatError{Reason: fmt.Sprintf("field %s: there is no object that could hold %s", name, pointer)}
	}
	if s.parent.kind == '[' && !s.exists() {
		return &FormatError{Reason: fmt.Sprintf("field %s: the array has no element %s", name, pointer)}
	}
	f.mapped[name] = mapping{jsontext.Pointer(pointer), s}
	return nil
}

// recognise names the layout and maps what it keeps under another name.
func (f *File) recognise() {
	if f.fields["access_token"] == "" && !f.has("access_token") {
		f.recogniseGoogle()
	}
	if f.closed {
		f.mapImplied("refresh_token")
	}
	switch {
	case len(f.fields) > 0:
		f.layout = LayoutCustom
	case f.isGoogle():
		f.layout = LayoutGoogle
	case f.has("access_token") && f.kind("expiry") == '"':
		f.layout = LayoutOAuth2
	default:
		f.layout = LayoutTokenResponse
	}
}

// recogniseGoogle handles files without an access_token member: Python's
// google-auth writes token, refresh_token and client_id, without a type.
func (f *File) recogniseGoogle() {
	k := f.kind("token")
	python := (k == '"' || k == 'n') && f.has("refresh_token") && f.has("client_id")
	if python {
		i, _ := f.holder.find("token")
		f.mapped["access_token"] = mapping{"/token", site{f.holder, i}}
	}
	f.closed = f.closed || python
}

func (f *File) isGoogle() bool { return f.isAuthorizedUser() || f.isMapped("access_token") }

func (f *File) isAuthorizedUser() bool {
	i, _ := f.doc.root.find("type")
	return f.doc.value(site{&f.doc.root, i}).words() == "authorized_user"
}

// mapImplied makes a member of the holder writable under its own name.
func (f *File) mapImplied(name string) {
	if f.isMapped(name) || !f.has(name) {
		return
	}
	i, _ := f.holder.find(name)
	f.mapped[name] = mapping{f.at.AppendToken(name), site{f.holder, i}}
}

func (f *File) has(name string) bool { return f.kind(name) != 0 }

// kind returns the kind of the holder's member, 0 if there is none.
func (f *File) kind(name string) jsontext.Kind {
	i, _ := f.holder.find(name)
	return f.doc.value(site{f.holder, i}).Kind()
}

// wellKnown knows the members whose meaning we rely on: twins of them leave
// open which one counts. Members for times are in roleOf.
func wellKnown(name string) bool {
	switch name {
	case "access_token", "refresh_token", "id_token", "token_type", "scope",
		"token", "type", "client_id", "client_secret", "token_uri",
		"id", "instance_url", "signature":
		return true
	}
	return false
}

// refuseTwins returns an error if a well-known member occurs twice. In a
// closed layout only the mapped members, checked before, and the times are
// known.
func (f *File) refuseTwins() error {
	for _, m := range f.holder.members {
		isTime := roleOf(string(m.name)) != noRole
		if !isTime && (f.closed && len(f.fields) > 0 || !wellKnown(string(m.name))) {
			continue
		}
		if _, err := f.doc.step(f.holder, string(m.name)); err != nil && f.holder.kind == '{' {
			return err
		}
	}
	if f.closed && f.holder.kind == '{' && !isExplicit(f.fields, "refresh_token") {
		_, err := f.doc.step(f.holder, "refresh_token")
		return err
	}
	return nil
}

func isExplicit(fields Fields, name string) bool {
	_, ok := fields[name]
	return ok
}

// checkTokens refuses tokens that are no strings and files without any.
func (f *File) checkTokens() error {
	for _, name := range []string{"access_token", "refresh_token"} {
		s := f.site(name)
		v := f.doc.value(s)
		if _, isText := v.Text(); v.Kind() == 0 || v.Kind() == 'n' || v.Kind() == '"' && isText {
			continue
		}
		return formatError(f.doc.text, s.member().start, name+" is not a string")
	}
	if f.site("access_token").exists() || f.site("refresh_token").exists() {
		return nil
	}
	return &FormatError{Reason: "the file has neither an access_token nor a refresh_token member" + f.fieldsHint()}
}

func (f *File) fieldsHint() string {
	if len(f.fields) > 0 {
		return " where the given fields point"
	}
	return ""
}

// trimmed is for names in error texts and reports that may be no UTF-8.
func trimmed(name string) string { return string(bytes.ToValidUTF8([]byte(name), []byte("\uFFFD"))) }
