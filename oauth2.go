package evergrant

import (
	"context"

	"golang.org/x/oauth2"
)

// OAuth2 returns the source as an oauth2.TokenSource, for libraries that take
// one. ctx bounds each wait. It need not be wrapped in oauth2.ReuseTokenSource,
// and must not be: that one would keep a token beyond its rejection.
//
// The exchange of golang.org/x/oauth2 itself is not used: by default it sends a
// spent refresh token twice after a lost reply, and never refreshes where the
// answer has no expires_in.
func (s *Source) OAuth2(ctx context.Context) oauth2.TokenSource {
	return tokenSource{ctx: ctx, s: s}
}

// tokenSource adapts a Source. The interface has no context, so this one type
// keeps the caller's.
type tokenSource struct {
	ctx context.Context
	s   *Source
}

func (t tokenSource) Token() (*oauth2.Token, error) {
	tok, err := t.s.Token(t.ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: tok.AccessToken.Reveal(), TokenType: tok.Type, Expiry: tok.Expiry}, nil
}
