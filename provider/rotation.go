package provider

import "time"

// Rotation is what may be relied on about the refresh tokens of a provider.
// Every field errs on the careful side: the zero value stands for a server
// that may rotate, has no grace and may revoke the family on a replay.
type Rotation struct {
	// Never: refreshing is known to leave the refresh token as it is.
	Never bool
	// OldStaysValid: the token that was sent is known to stay good, whether
	// or not the answer brought another.
	OldStaysValid bool
	// Grace is how long a replaced token is known to be taken again; 0: don't
	// count on it.
	Grace time.Duration
	// GraceReply is same or sibling, empty when not known or without Grace.
	GraceReply string
	// ReuseOnlyFails: replaying a replaced token outside Grace is known to
	// fail without ending the family.
	ReuseOnlyFails bool
}

// Rotation resolves the rotation facts: a claim that makes a replay look safe
// counts only when verified. A nil p is an unknown provider.
func (p *Provider) Rotation() Rotation {
	var r Rotation
	if p.Verified("refresh.rotates") {
		r.Never = p.Refresh.Rotates == RotatesNo
		r.OldStaysValid = p.Refresh.Rotates == RotatesNo || p.Refresh.Rotates == RotatesSoft
	}
	if p.Verified("refresh.grace") {
		r.Grace = time.Duration(p.Refresh.Grace)
	}
	if r.Grace > 0 && p.Verified("refresh.grace_reply") {
		r.GraceReply = p.Refresh.GraceReply
	}
	if p.Verified("refresh.reuse") {
		r.ReuseOnlyFails = p.Refresh.Reuse == "fails"
	}
	return r
}

// IssuesRefreshTokens is false where the provider gives none, so that "no
// refresh token" is its way and not a mistake. Unknown counts as true.
func (p *Provider) IssuesRefreshTokens() bool {
	return p == nil || p.Refresh.Rotates != RotatesNone
}

// AccessLifetime is the lifetime to assume when an answer names none; 0: none.
// It is a hint and is given out unverified too.
func (p *Provider) AccessLifetime() time.Duration {
	if p == nil {
		return 0
	}
	return time.Duration(p.Access.DefaultLifetime)
}

// KillsAccessToken reports that a refresh is said to end the access token
// before it, so that refreshing early breaks calls in flight. As this makes a
// client more careful, it is given out unverified too; unknown counts as
// false.
func (p *Provider) KillsAccessToken() bool {
	return p != nil && p.Access.SurvivesRefresh == No
}
