package foreign

import (
	"bytes"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/oauth"
)

// rclone keeps one section a remote, and in it the token as golang.org/x/oauth2
// has it, on one line.
var rclone = Format{
	Name: "rclone", Title: "rclone.conf (one grant a remote)",
	Files:  []string{"~/.config/rclone/rclone.conf", "%APPDATA%/rclone/rclone.conf"},
	Source: "rclone/rclone, lib/oauthutil/oauthutil.go (GetToken, PutToken, SharedOptions, type oldToken)",
	Note:   "a remote without client_id uses rclone's own app, whose id is in rclone and not in the file; an exported section is to be put into rclone.conf, where some backends want more (OneDrive: drive_id)",
	plain:  true,
	holds:  []string{partTokenURL, partClientID, partSecret, partAccess, partRefresh, partType, partExpiry},
	is: func(t *text) bool {
		return t.broken != nil && isINI(t.plain) && rcloneToken().Match(t.plain)
	},
	read:  readRclone,
	write: writeRclone,
}

// rcloneTypes are the backends whose provider is in the catalog.
var rcloneTypes = []struct{ backend, provider string }{
	{"drive", "google"}, {"google photos", "google"}, {"google cloud storage", "google"},
	{"onedrive", "microsoft"}, {"dropbox", "dropbox"}, {"box", "box"}, {"zoho", "zoho"},
}

var (
	iniSection  = pattern(`(?m)^\s*\[[^\]\r\n{}"]+\]\s*$`)
	rcloneToken = pattern(`(?m)^\s*token\s*=`)
)

func isINI(data []byte) bool { return iniSection().Match(data) }

// A section is one of an INI file.
type section struct {
	name   string
	values map[string]string
}

// parseINI reads sections of name = value. Comments begin with ; or #. Twins
// are refused, for rclone takes the last and others the first.
func parseINI(data []byte) ([]section, error) {
	var list []section
	known := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == ';' || line[0] == '#':
		case line[0] == '[' && line[len(line)-1] == ']':
			name := strings.TrimSpace(line[1 : len(line)-1])
			if known[name] {
				return nil, &Error{"a section of the file occurs twice: which one counts is not certain", "remove the one that is wrong"}
			}
			known[name] = true
			list = append(list, section{name, map[string]string{}})
		default:
			name, value, ok := strings.Cut(line, "=")
			name = strings.TrimSpace(name)
			if !ok || len(list) == 0 {
				return nil, &Error{"the file is no rclone.conf: a line is neither [section] nor name = value", "is it whole?"}
			}
			values := list[len(list)-1].values
			if _, twin := values[name]; twin {
				return nil, &Error{"an option of a section occurs twice: which one counts is not certain", "remove the one that is wrong"}
			}
			values[name] = strings.TrimSpace(value)
		}
	}
	return list, nil
}

func readRclone(t *text) ([]Grant, error) {
	sections, err := parseINI(t.plain)
	if err != nil {
		return nil, err
	}
	var list []Grant
	for _, s := range sections {
		if s.values["token"] == "" {
			continue
		}
		g, err := s.grant()
		if err != nil {
			return nil, err
		}
		list = append(list, g)
	}
	return list, nil
}

// grant reads a section. The token of very old versions has Go's own names.
func (s section) grant() (Grant, error) {
	o, err := parseObject([]byte(s.values["token"]))
	if err != nil {
		return Grant{}, &Error{"the token of a remote cannot be read: " + err.Error(), "run `rclone config reconnect` for it, or import another one with --account"}
	}
	r := o.reader()
	g := Grant{
		Label: s.name, TokenURL: s.values["token_url"],
		ClientID: s.values["client_id"], ClientSecret: oauth.NewSecret(s.values["client_secret"]),
		AccessToken: r.secret("access_token"), RefreshToken: r.secret("refresh_token"),
		TokenType: r.text("token_type"), Expiry: r.time("expiry"),
	}
	if g.AccessToken.IsZero() && g.RefreshToken.IsZero() {
		g.AccessToken, g.RefreshToken, g.Expiry = r.secret("AccessToken"), r.secret("RefreshToken"), r.time("Expiry")
	}
	for _, t := range rcloneTypes {
		if t.backend == s.values["type"] {
			g.Provider = t.provider
		}
	}
	if g.ClientID == "" {
		g.Note = "the remote uses rclone's own app, whose client id is not in the file: give it with --client-id, or leave the grant to rclone"
	}
	return g, r.err
}

func writeRclone(g Grant) ([]byte, error) {
	backend := ""
	for _, t := range slices.Backward(rcloneTypes) {
		if t.provider == g.Provider {
			backend = t.backend
		}
	}
	if backend == "" {
		return nil, &Error{"rclone has no backend for the grant's provider", "rclone knows google, microsoft, dropbox, box and zoho; --provider says which it is"}
	}
	token, err := encodeLine(xOAuth2Members(g))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("[" + sectionName(first(g.Label, backend)) + "]\ntype = " + backend + "\n")
	for _, o := range [][2]string{
		{"client_id", g.ClientID}, {"client_secret", g.ClientSecret.Reveal()}, {"token_url", g.TokenURL}, {"token", string(token)},
	} {
		if strings.ContainsAny(o[1], "\r\n") || strings.TrimSpace(o[1]) != o[1] {
			return nil, &Error{"the " + o[0] + " has a line break or blanks at its end: it has no place in an rclone.conf", "correct it first"}
		}
		if o[1] != "" {
			b.WriteString(o[0] + " = " + o[1] + "\n")
		}
	}
	return b.Bytes(), nil
}

// notInName are the characters that rclone refuses in the name of a remote
// (letters, digits and _ - . + @ and blanks inside are good).
var notInName = pattern(`[^\pL\pN_\-.+@ ]+`)

func sectionName(label string) string {
	return first(strings.Trim(notInName().ReplaceAllString(label, "_"), " -"), "imported")
}
