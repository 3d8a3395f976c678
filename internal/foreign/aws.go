package foreign

import (
	"strings"
	"time"
)

// awsSSO is the AWS CLI's cache of a login by IAM Identity Center.
var awsSSO = Format{
	Name: "aws-sso", Title: "AWS IAM Identity Center (aws sso login) cache",
	Files:   []string{"~/.aws/sso/cache/*.json"},
	Source:  "aws/aws-sdk-go-v2, credentials/ssocreds/sso_cached_token.go (type tokenKnownFields); boto/botocore, botocore/tokens.py",
	Note:    "AWS tools look for the file under a name of their own, the SHA-1 of the session's name: put it in the place of the one it came from",
	holds:   []string{partAccess, partRefresh, partExpiry, partClientID, partSecret, partAccount, partTokenURL},
	members: awsMembers,
	is: func(t *text) bool {
		return t.root.has("accessToken") && t.root.has("expiresAt") && (t.root.has("startUrl") || t.root.has("region") || t.root.has("clientId"))
	},
	read: func(t *text) ([]Grant, error) {
		r := t.root.reader()
		g := r.camelCase()
		g.ClientID, g.ClientSecret, g.Account = r.text("clientId"), r.secret("clientSecret"), r.text("startUrl")
		g.Provider, g.TokenURL, g.SecretAt = "aws-sso", awsTokenURL(r.plain("region")), "/clientSecret"
		if g.TokenURL != "" {
			r.text("region") // the endpoint says it
		}
		switch {
		case g.RefreshToken.IsZero():
			g.Note = "there is no refresh token in it: only a login by an sso-session of ~/.aws/config has one (`aws configure sso-session`)"
		case g.TokenURL == "" || g.ClientID == "" || g.ClientSecret.IsZero():
			g.Note = "to refresh it, the region, the client and its secret are needed, and the file lacks one: log in anew with `aws sso login`"
		}
		g.Other = r.rest()
		return []Grant{g}, r.err
	},
	write: func(g Grant) ([]byte, error) {
		region := awsRegion(g.TokenURL)
		if g.AccessToken.IsZero() || g.Expiry.IsZero() || region == "" {
			return nil, &Error{"AWS tools need an access token, its end and the region, and the grant lacks one", "export only a grant of IAM Identity Center, and refresh it first"}
		}
		m := addText(nil, "startUrl", g.Account)
		m = addText(m, "region", region)
		m = addSecret(m, "accessToken", g.AccessToken)
		m = addText(m, "expiresAt", g.Expiry.UTC().Format(time.RFC3339))
		m = addText(m, "clientId", g.ClientID)
		m = addSecret(m, "clientSecret", g.ClientSecret)
		m = append(m, g.others(awsMembers)...)
		return encode(addSecret(m, "refreshToken", g.RefreshToken))
	},
}

var awsMembers = []string{"registrationExpiresAt"}

var awsPlace = pattern(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)

// awsTokenURL is the endpoint of a region (SSO OIDC, CreateToken); "" for what
// is no region: a file must not lead the token elsewhere.
func awsTokenURL(region string) string {
	switch {
	case !awsPlace().MatchString(region):
		return ""
	case strings.HasPrefix(region, "cn-"):
		return "https://oidc." + region + ".amazonaws.com.cn/token"
	}
	return "https://oidc." + region + ".amazonaws.com/token"
}

// awsRegion is the region of an endpoint, "" of any other.
func awsRegion(tokenURL string) string {
	host, _ := strings.CutPrefix(tokenURL, "https://oidc.")
	region, _, _ := strings.Cut(host, ".")
	if awsTokenURL(region) != tokenURL {
		return ""
	}
	return region
}
