package foreign

import (
	"strings"
)

// msal is the cache that Microsoft's libraries share across languages: flat
// maps of credentials and accounts, joined by home account, environment and
// client.
var msal = Format{
	Name: "msal", Title: "Microsoft MSAL cache (Azure CLI, msal-extensions; many accounts)",
	Files:  []string{"~/.azure/msal_token_cache.json", "~/.IdentityService/msal.cache"},
	Source: "AzureAD/microsoft-authentication-library-for-go, apps/internal/base/storage/items.go (type Contract) and testdata/v1.0_cache.json",
	Note:   "on Windows and macOS the cache is mostly encrypted (.bin, keychain) and cannot be imported",
	is: func(t *text) bool {
		return t.root.object("AccessToken") != nil || t.root.object("RefreshToken") != nil || t.root.object("Account") != nil
	},
	read: readMSAL,
}

// An msalKey joins the sections.
type msalKey struct{ home, environment, client string }

// msalAliases are the hosts of Microsoft's public cloud that stand for one
// (MSAL learns them from the authority's instance discovery; the list was not
// verified against an answer of it).
var msalAliases = map[string]string{
	"login.windows.net": "login.microsoftonline.com", "login.microsoft.com": "login.microsoftonline.com",
	"sts.windows.net": "login.microsoftonline.com",
}

func msalHost(environment string) string {
	return first(msalAliases[environment], environment)
}

func (r *reader) msalKey() msalKey {
	return msalKey{strings.ToLower(r.text("home_account_id")), msalHost(r.text("environment")), r.text("client_id")}
}

// readMSAL makes one grant of each account and client. Of several access
// tokens, which are for different scopes, it takes the one that lasts longest.
func readMSAL(t *text) ([]Grant, error) {
	c := &msalCache{grants: map[msalKey]*Grant{}, realms: map[msalKey]string{}, names: map[msalKey]string{}}
	for _, s := range []struct {
		name string
		take func(*reader, msalKey)
	}{{"RefreshToken", c.refresh}, {"AccessToken", c.access}, {"IdToken", c.id}, {"Account", c.account}} {
		for _, m := range t.root.object(s.name) {
			if m.value.Kind() != '{' {
				continue
			}
			r := m.object().reader()
			if s.take(r, r.msalKey()); r.err != nil {
				return nil, r.err
			}
		}
	}
	return c.list(), nil
}

type msalCache struct {
	order  []msalKey
	grants map[msalKey]*Grant
	realms map[msalKey]string // without a client: the account's home tenant
	names  map[msalKey]string // without a client: the account's user name
}

func (c *msalCache) at(k msalKey) *Grant {
	if c.grants[k] == nil {
		c.order = append(c.order, k)
		c.grants[k] = &Grant{Provider: "microsoft", ClientID: k.client}
	}
	return c.grants[k]
}

func (c *msalCache) refresh(r *reader, k msalKey) {
	g := c.at(k)
	g.RefreshToken = r.secret("secret")
	g.Scope = first(g.Scope, r.text("target"))
}

func (c *msalCache) access(r *reader, k msalKey) {
	g := c.at(k)
	secret, expires := r.secret("secret"), r.time("expires_on")
	if !g.AccessToken.IsZero() && !expires.After(g.Expiry) {
		return
	}
	g.AccessToken, g.Expiry, g.TokenType = secret, expires, r.text("token_type")
	g.Scope = first(r.text("target"), g.Scope)
	c.realms[k] = r.text("realm")
}

// id adds the ID token; one alone is no grant.
func (c *msalCache) id(r *reader, k msalKey) {
	if g := c.grants[k]; g != nil {
		g.IDToken = r.secret("secret")
	}
}

func (c *msalCache) account(r *reader, k msalKey) {
	k.client = ""
	c.names[k] = r.text("username")
	c.realms[k] = r.text("realm")
}

// harmlessHost and harmlessRealm are what may become part of a URL.
var (
	harmlessHost  = pattern(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
	harmlessRealm = pattern(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`)
)

func (c *msalCache) list() []Grant {
	var out []Grant
	for _, k := range c.order {
		g := *c.grants[k]
		who := msalKey{home: k.home, environment: k.environment}
		g.Account = c.names[who]
		realm := first(c.realms[k], c.realms[who])
		if harmlessHost().MatchString(k.environment) && harmlessRealm().MatchString(realm) {
			g.TokenURL = "https://" + k.environment + "/" + realm + "/oauth2/v2.0/token"
		}
		if g.Account == "" {
			g.Label = k.client
		}
		out = append(out, g)
	}
	return out
}
