// Package foreign reads and writes the credential files of other tools.
//
// Call [Read] with the bytes of a file: it recognises the format and returns
// the grants in it, each with a Label to choose by. [Grant.Document] is the
// token file to keep. [Write] goes the other way, for the formats of [Formats]
// that say so; [Format.Leaves] names what a format has no place for.
//
// Promises: nothing is sent, and no file is touched: bytes in, bytes out, but
// for Options.Beside. A file that is not understood is refused with one [Error]
// that holds no value of it. A member that occurs twice is refused: the two
// tools that read the file may disagree which one counts (RFC 8259 §4).
//
// Limits: 16 MiB a file; encrypted files are recognised and refused with the
// command of their own tool that prints them; ID tokens are read for a name to
// show, and not verified.
//
// A copy is a second holder of one grant. Where the provider rotates refresh
// tokens, the holder that refreshes second presents a spent token and ends the
// grant for both (RFC 9700 §4.14.2): only one of the two may go on refreshing.
package foreign

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf16"
)

// maxSize bounds a file. Caches with hundreds of accounts stay under 1 MiB.
const maxSize = 16 << 20

// proofKey is the member of a token file that holds the private key of a grant
// bound by DPoP (RFC 9449 §5).
const proofKey = "dpop_jwk"

// A Format is one kind of credential file. Compare formats by Name.
type Format struct {
	// Name is what the user types, such as x-oauth2.
	Name string `json:"name"`
	// Title says whose it is.
	Title string `json:"title"`
	// Reads and Writes say which way it goes.
	Reads  bool `json:"reads"`
	Writes bool `json:"writes"`
	// Files are the usual places; ~ is the home folder.
	Files []string `json:"files,omitempty"`
	// Source is the project and the file that the shape was read in.
	Source string `json:"source"`
	// Note is what a user should know before the first import or export; "" if
	// nothing.
	Note string `json:"note,omitempty"`

	plain   bool     // the file is no JSON
	holds   []string // the parts of a Grant that a file can say
	members []string // of Grant.Other; "*" is any

	is    func(*text) bool
	read  func(*text) ([]Grant, error)
	write func(Grant) ([]byte, error)
}

// Formats returns all formats, the more telling ones first: a file is of the
// first that recognises it.
func Formats() []Format {
	list := []Format{
		claudeCode, msal, salesforceCLI, forceURL, authorizedUser, googleAuth,
		awsSSO, execCredential, mcpRemote, kubelogin, rclone, xOAuth2, tokenResponse,
	}
	for i := range list {
		list[i].Reads, list[i].Writes = list[i].read != nil, list[i].write != nil
	}
	return list
}

// Named returns the format of that name.
func Named(name string) (Format, error) {
	for _, f := range Formats() {
		if f.Name == name {
			return f, nil
		}
	}
	return Format{}, &Error{"there is no format of that name", "`evergrant import --list` shows them"}
}

// repeats are members that say again what Expiry says.
var repeats = []string{"expires_in", "expires_on", "expires_at"}

// Leaves names the parts of the grant that a file of this format has no place
// for, in words for people.
func (f Format) Leaves(g Grant) []string {
	var out []string
	for _, p := range g.parts() {
		if !slices.Contains(f.holds, p) {
			out = append(out, p)
		}
	}
	for _, m := range g.Other {
		if !f.takes(m.Name) && !slices.Contains(repeats, m.Name) {
			out = append(out, m.Name)
		}
	}
	return out
}

// HoldsSecret reports whether a file of this format says the client's secret.
func (f Format) HoldsSecret() bool { return slices.Contains(f.holds, partSecret) }

func (f Format) takes(member string) bool {
	return slices.Contains(f.members, "*") || slices.Contains(f.members, member)
}

// Options of Read. The zero value is ready to use.
type Options struct {
	// Format is a Format.Name; "" recognises it.
	Format string
	// Name is the path of the file, or "": some formats show in it.
	Name string
	// Beside reads another file of the same folder by its base name: mcp-remote
	// keeps the client in one. Nil means there is none.
	Beside func(base string) ([]byte, error)
}

// Detect recognises the format of a file by its content and name, which is a
// path or "". The error is an *[Error]: no known format, or a file that is
// known to hold no grant or only encrypted ones.
func Detect(data []byte, name string) (Format, error) {
	t, err := newText(data, Options{Name: name})
	if err != nil {
		return Format{}, err
	}
	return t.detect()
}

// Read returns the grants of a file, at least one, in its order. Each has at
// least one token. The error is an *[Error].
func Read(data []byte, o Options) ([]Grant, error) {
	t, err := newText(data, o)
	if err != nil {
		return nil, err
	}
	f, err := t.format(o.Format)
	if err != nil {
		return nil, err
	}
	list, err := f.read(t)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(g Grant) bool { return !g.hasToken() })
	if len(list) == 0 {
		return nil, &Error{"the file holds no token (read as " + f.Name + ")", "is it the file you mean? --format reads it as another format"}
	}
	for i := range list {
		list[i].complete(f)
	}
	distinguish(list)
	return list, nil
}

// Write returns a file with the grant in that format, tokens in clear. What the
// format has no place for is left out: see [Format.Leaves]. It is an *[Error]
// if the format can't be written, or needs what the grant lacks.
func Write(f Format, g Grant) ([]byte, error) {
	if f.write == nil {
		return nil, &Error{"the format " + f.Name + " can only be read", "`evergrant import --list` shows which can be written"}
	}
	if !g.hasToken() {
		return nil, &Error{"the grant has no token", "log in first"}
	}
	if slices.ContainsFunc(g.Other, func(m Member) bool { return m.Name == proofKey }) && !f.takes(proofKey) {
		return nil, &Error{"the grant is bound to a key (DPoP, RFC 9449), and the format has no place for it: the refresh token would be of no use", "log in again with the other tool; only token-response keeps the key"}
	}
	return f.write(g)
}

// An Error says why a file can't be read or written, and what to do about it.
// It holds no value of the file.
type Error struct {
	Says, Do string
}

func (e *Error) Error() string { return e.Says }

// Hint is what to do.
func (e *Error) Hint() string { return e.Do }

// A text is a file on its way in.
type text struct {
	path   string
	data   []byte
	plain  []byte // the same in UTF-8, without byte order mark
	root   object // if it is a JSON object
	broken error  // why it is none
	beside func(base string) ([]byte, error)
}

func newText(data []byte, o Options) (*text, error) {
	if len(data) > maxSize {
		return nil, &Error{"the file is larger than 16 MiB: no credential file is", "is it the file you mean?"}
	}
	t := &text{path: filepath.ToSlash(o.Name), data: data, plain: decode(data), beside: o.Beside}
	t.root, t.broken = parseFile(data)
	return t, nil
}

// decode turns what PowerShell's > writes, UTF-16 with a byte order mark, into
// UTF-8, and takes the mark off UTF-8.
func decode(data []byte) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	}
	var units []uint16
	for data = data[2:]; len(data) >= 2; data = data[2:] {
		units = append(units, order.Uint16(data))
	}
	return []byte(string(utf16.Decode(units)))
}

func (t *text) base() string { return t.path[strings.LastIndexByte(t.path, '/')+1:] }

// looksJSON tells a broken JSON file from one that was never JSON. Its answer
// picks the words of an error, no more.
func (t *text) looksJSON() bool {
	b := bytes.TrimSpace(t.plain)
	return len(b) > 0 && (b[0] == '{' || b[0] == '[') && !isINI(b)
}

func (t *text) format(name string) (Format, error) {
	if name == "" {
		return t.detect()
	}
	f, err := Named(name)
	if err != nil {
		return f, err
	}
	if f.read == nil {
		return f, &Error{"the format " + name + " can only be written", "`evergrant import --list` shows which can be read"}
	}
	if !f.plain && t.broken != nil {
		return f, t.broken
	}
	return f, nil
}

func (t *text) detect() (Format, error) {
	if t.broken != nil && (t.looksJSON() || len(bytes.TrimSpace(t.plain)) == 0) {
		return Format{}, t.broken
	}
	if err := t.refusal(); err != nil {
		return Format{}, err
	}
	for _, f := range Formats() {
		if f.is(t) && (f.plain || t.broken == nil) {
			return f, nil
		}
	}
	return Format{}, &Error{"this is no credential file that evergrant knows", "`evergrant import --list` shows the formats; --format reads a file as one of them"}
}

// refusal recognises files that lie where grants lie and hold none.
func (t *text) refusal() error {
	switch kind := t.root.plain("type"); {
	case kind == "service_account":
		return &Error{"this is a service account's private key, not a grant", "sign in with the key itself; there is no refresh token to import"}
	case kind == "external_account" || kind == "impersonated_service_account" || kind == "external_account_authorized_user":
		return &Error{"this file says where to fetch a token (" + kind + "), it holds no grant", "sign in at the source it names"}
	case t.root.object("installed") != nil || t.root.object("web") != nil:
		return &Error{"this is the registration of a client, not a grant", "log in with it: its client_id and client_secret are what a login needs"}
	case strings.HasSuffix(t.base(), clientInfo):
		return &Error{"this is mcp-remote's registration of a client, not a grant", "import the …_tokens.json beside it"}
	case t.broken != nil && isGitHubCLI(t.plain):
		return &Error{"this is GitHub CLI's hosts.yml: its tokens do not end and cannot be renewed, so there is nothing to keep alive",
			"go on with `gh auth token`; a grant that is renewed comes from `evergrant login github` with the client id of a GitHub App"}
	case t.broken != nil && bytes.Contains(t.plain, []byte("RCLONE_ENCRYPT_V")):
		return &Error{"this rclone.conf is encrypted", "pipe what `rclone config show` prints into `evergrant import -`"}
	}
	return nil
}

var gitHubHosts = pattern(`(?m)^[a-z0-9.-]+\.[a-z0-9-]+:[ \t]*\r?\n([ \t]+.*\r?\n)*?[ \t]+(oauth_token|git_protocol):`)

// isGitHubCLI recognises hosts.yml (cli/cli, internal/config): a host, and below
// it a protocol, or a token if that is not in the system's keyring.
func isGitHubCLI(text []byte) bool { return gitHubHosts().Match(text) }

// pattern compiles an expression at its first use: the program that links this
// package starts with every short command, and seldom reads a foreign file.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
