package foreign

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/evergrant/evergrant/oauth"
)

// forcePattern is the sfdx auth URL as the sf CLI takes it, and with a port.
var forcePattern = pattern(`^force://([A-Za-z0-9._-]+):([A-Za-z0-9._-]*):([A-Za-z0-9._-]+={0,2})@([A-Za-z0-9:._-]+)$`)

const (
	salesforceToken = "/services/oauth2/token"
	forceScheme     = "force://"
)

// forceURL is one line with all that a refresh needs. The host is the org's
// instance, or the login host; the sf CLI treats it as either.
var forceURL = Format{
	Name: "force-url", Title: "Salesforce sfdx auth URL (force://clientId:clientSecret:refreshToken@host)",
	Files:  []string{"authUrl.txt"},
	Source: "forcedotcom/sfdx-core, src/org/authInfo.ts (parseSfdxAuthUrl)",
	Note:   "the sf CLI prints it with `sf org auth show-sfdx-auth-url`, and takes it with `sf org login sfdx-url`",
	plain:  true,
	holds:  []string{partTokenURL, partClientID, partSecret, partRefresh},
	is:     func(t *text) bool { return bytes.HasPrefix(bytes.TrimSpace(t.plain), []byte(forceScheme)) },
	read: func(t *text) ([]Grant, error) {
		g, err := parseForce(string(bytes.TrimSpace(t.plain)))
		return []Grant{g}, err
	},
	write: writeForce,
}

func parseForce(s string) (Grant, error) {
	part := forcePattern().FindStringSubmatch(s)
	if part == nil {
		return Grant{}, &Error{"the sfdx auth URL is not of the form force://clientId:clientSecret:refreshToken@host", "print it again with `sf org auth show-sfdx-auth-url`; it is one line"}
	}
	return Grant{
		Provider: "salesforce", TokenURL: "https://" + part[4] + salesforceToken,
		ClientID: part[1], ClientSecret: oauth.NewSecret(part[2]), RefreshToken: oauth.NewSecret(part[3]),
	}, nil
}

func writeForce(g Grant) ([]byte, error) {
	u, err := url.Parse(g.TokenURL)
	if err == nil && u.Scheme == "http" {
		return nil, &Error{"an sfdx auth URL always means https, and the token endpoint of this grant is http", "use token-response"}
	}
	if err != nil || u.Scheme != "https" || u.Path != salesforceToken {
		return nil, &Error{"the format is for Salesforce, whose token endpoint ends in " + salesforceToken, "use token-response"}
	}
	s := forceScheme + g.ClientID + ":" + g.ClientSecret.Reveal() + ":" + g.RefreshToken.Reveal() + "@" + u.Host
	if !forcePattern().MatchString(s) {
		return nil, &Error{"an sfdx auth URL needs a client id and a refresh token, of letters, digits, dots, dashes and underscores", "give the client id with --client-id, or use token-response"}
	}
	return []byte(s + "\n"), nil
}

// encrypted is how the sf CLI keeps a token in its file: AES-256-GCM in hex,
// with the tag after a colon (sfdx-core, src/crypto/crypto.ts).
var encrypted = pattern(`^[0-9a-f]{12,}:[0-9a-f]{32}$`)

// redacted begins what new versions of `sf org display` print in place of a
// secret (salesforcecli/plugin-org, messages/secrets-redacted.md, seen through
// tests of other projects).
const redacted = "[REDACTED]"

// salesforceCLI is the sf CLI's file for an account, or what the CLI prints
// about it with --json.
var salesforceCLI = Format{
	Name: "sf", Title: "Salesforce CLI: account file, or what `sf … --json` prints",
	Files:  []string{"~/.sfdx/USERNAME.json"},
	Source: "forcedotcom/sfdx-core, src/org/authInfo.ts (type AuthFields) and src/crypto/crypto.ts",
	Note:   "the files are encrypted: pipe what `sf org auth show-sfdx-auth-url --target-org USERNAME --json` prints (older versions: `sf org display --verbose --json`) into `evergrant import -`",
	is: func(t *text) bool {
		o := t.account()
		return o.has("sfdxAuthUrl") || o.has("instanceUrl") && (o.has("accessToken") || o.has("refreshToken") || o.has("username"))
	},
	read: readSalesforceCLI,
}

// account is the object about the account: in what the CLI prints, it is the
// result.
func (t *text) account() object {
	if o := t.root.object("result"); o != nil {
		return o
	}
	return t.root
}

func readSalesforceCLI(t *text) ([]Grant, error) {
	r := t.account().reader()
	user := r.text("username")
	if err := r.sealed(user); err != nil {
		return nil, err
	}
	g := Grant{Provider: "salesforce"}
	if u := r.text("sfdxAuthUrl"); u != "" {
		var err error
		if g, err = parseForce(u); err != nil {
			return nil, err
		}
	} else {
		g.ClientID, g.ClientSecret = r.text("clientId"), r.secret("clientSecret")
		g.RefreshToken = r.secret("refreshToken")
		if host := first(r.text("loginUrl"), r.plain("instanceUrl")); host != "" {
			g.TokenURL = strings.TrimSuffix(host, "/") + salesforceToken
		}
	}
	g.Account, g.AccessToken = user, r.secret("accessToken")
	if strings.HasPrefix(g.AccessToken.Reveal(), redacted) {
		g.AccessToken = oauth.Secret{}
	}
	if g.RefreshToken.IsZero() && r.plain("privateKey") != "" {
		g.Note = "it is a login by private key (JWT): sign in with the key instead, there is no refresh token"
	}
	g.Other = addText(nil, "instance_url", r.text("instanceUrl"))
	return []Grant{g}, r.err
}

// sealed refuses what only the sf CLI can open.
func (r *reader) sealed(user string) error {
	does := "is encrypted by the sf CLI"
	found := encrypted().MatchString(r.plain("accessToken")) || encrypted().MatchString(r.plain("refreshToken"))
	if strings.HasPrefix(r.plain("sfdxAuthUrl"), redacted) {
		does, found = "has the secrets left out by the sf CLI", true
	}
	if !found {
		return nil
	}
	if !harmlessName().MatchString(user) {
		user = "USERNAME"
	}
	return &Error{"the file " + does,
		"run `sf org auth show-sfdx-auth-url --target-org " + user + " --json | evergrant import - …` (older versions of sf: `sf org display --verbose --json --target-org " + user + "`)"}
}

var harmlessName = pattern(`^[A-Za-z0-9._+@-]{1,120}$`)
