package foreign

// awsSSO is the AWS CLI's cache of a login by IAM Identity Center.
var awsSSO = Format{
	Name: "aws-sso", Title: "AWS IAM Identity Center (aws sso login) cache",
	Files:  []string{"~/.aws/sso/cache/*.json"},
	Source: "aws/aws-sdk-go-v2, credentials/ssocreds/sso_cached_token.go (type tokenKnownFields); startUrl and region: botocore, not verified",
	is: func(t *text) bool {
		return t.root.has("accessToken") && t.root.has("expiresAt") && (t.root.has("startUrl") || t.root.has("region") || t.root.has("clientId"))
	},
	read: func(t *text) ([]Grant, error) {
		r := t.root.reader()
		g := Grant{
			AccessToken: r.secret("accessToken"), RefreshToken: r.secret("refreshToken"), Expiry: r.time("expiresAt"),
			ClientID: r.text("clientId"), ClientSecret: r.secret("clientSecret"), Account: r.text("startUrl"),
			Note: "Identity Center's token endpoint takes JSON, not the form of RFC 6749: the token can be used, but not be refreshed here",
		}
		g.Other = r.rest()
		return []Grant{g}, r.err
	},
}
