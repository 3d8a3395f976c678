package provider

import "time"

// Steps that many rows share.
const (
	doLogin  = "Log in again."
	doWait   = "Nothing to do: evergrant tries again later."
	doClient = "Check the client ID and secret against the app registration, then try again. Your login is kept."
	doAdmin  = "Ask whoever runs the provider's side to lift the block. Your login is kept and tried again from time to time."
)

// generic holds for any provider, in reading order. Rows with a description
// and rows with a status are explained at Match.
var generic = []ErrorRule{
	// Another refresh holds the token: the one case where invalid_grant says
	// nothing about the grant.
	{ID: "busy-processed", Description: "already being processed", Outcome: Busy, RetryAfter: Duration(time.Second),
		Says: "Another program is refreshing this login right now.", Do: "Nothing to do: evergrant waits and takes over the new token."},
	{ID: "busy-progress", Description: "already in progress", Outcome: Busy, RetryAfter: Duration(time.Second),
		Says: "Another program is refreshing this login right now.", Do: "Nothing to do: evergrant waits and takes over the new token."},

	// The provider's own word that the grant is gone (RFC 6749 §5.2 and its
	// dialects).
	{ID: "invalid-grant", Error: "invalid_grant", Outcome: Dead,
		Says: "The provider no longer accepts this login: it expired, was revoked, or was used up by another program.", Do: doLogin},
	{ID: "invalid-refresh-token", Error: "invalid_refresh_token", Outcome: Dead,
		Says: "The provider does not know this refresh token any more.", Do: doLogin},
	{ID: "bad-refresh-token", Error: "bad_refresh_token", Outcome: Dead,
		Says: "The provider does not know this refresh token any more.", Do: doLogin},
	{ID: "refresh-token-expired", Error: "refresh_token_expired", Outcome: Dead,
		Says: "The refresh token has expired.", Do: doLogin},
	{ID: "refresh-token-reused", Error: "refresh_token_reused", Outcome: Dead,
		Says: "This refresh token was already used, probably by another program or an older copy of the file.",
		Do:   "Log in again, and let only one program keep this login fresh."},
	{ID: "token-revoked", Error: "token_revoked", Outcome: Dead,
		Says: "Somebody revoked this login.", Do: doLogin},
	{ID: "interaction-required", Error: "interaction_required", Outcome: Dead,
		Says: "The provider wants you to sign in yourself, for example with a second factor.", Do: doLogin},
	{ID: "login-required", Error: "login_required", Outcome: Dead,
		Says: "The provider wants you to sign in again.", Do: doLogin},
	{ID: "consent-required", Error: "consent_required", Outcome: Dead,
		Says: "The provider wants you to approve the app again.", Do: doLogin},
	{ID: "expired-token", Error: "expired_token", Outcome: Dead, // RFC 8628 §3.5
		Says: "The code or token was used too late and has expired.", Do: "Start the login again."},

	// The client or the request is wrong; the grant is not in question (RFC
	// 6749 §5.2).
	{ID: "invalid-client", Error: "invalid_client", Outcome: Misconfigured,
		Says: "The provider rejected the app, not your login: wrong client ID or secret, or an expired secret.", Do: doClient},
	{ID: "unauthorized-client", Error: "unauthorized_client", Outcome: Misconfigured,
		Says: "This app may not ask for tokens in this way.", Do: "Allow refresh tokens in the app registration, or use the app the login was made with. Your login is kept."},
	{ID: "unsupported-grant-type", Error: "unsupported_grant_type", Outcome: Misconfigured,
		Says: "This address does not do this kind of request.", Do: "Check the token URL. Your login is kept."},
	{ID: "invalid-scope", Error: "invalid_scope", Outcome: Misconfigured,
		Says: "The provider does not grant one of the permissions asked for.", Do: "Leave the scope away or ask for less, then try again. Your login is kept."},
	{ID: "invalid-request", Error: "invalid_request", Outcome: Misconfigured,
		Says: "The provider did not understand the request.", Do: "Check the provider name, the token URL and any extra parameters. Your login is kept."},
	{ID: "invalid-target", Error: "invalid_target", Outcome: Misconfigured, // RFC 8707 §2
		Says: "The provider does not know the service the token is meant for.", Do: "Check the resource or audience parameter. Your login is kept."},
	{ID: "unsupported-response-type", Error: "unsupported_response_type", Outcome: Misconfigured,
		Says: "The app may not log in this way.", Do: "Allow the authorization code flow in the app registration."},
	{ID: "redirect-uri-mismatch", Error: "redirect_uri_mismatch", Outcome: Misconfigured,
		Says: "The redirect address is not the one the app is registered with.", Do: "Add the redirect address to the app registration, exactly as it is used."},
	{ID: "incorrect-client-credentials", Error: "incorrect_client_credentials", Outcome: Misconfigured,
		Says: "The client ID or secret is wrong.", Do: doClient},
	{ID: "bad-client-secret", Error: "bad_client_secret", Outcome: Misconfigured,
		Says: "The client secret is wrong.", Do: doClient},
	{ID: "invalid-client-secret", Error: "invalid_client_secret", Outcome: Misconfigured,
		Says: "The client secret is wrong.", Do: doClient},
	{ID: "invalid-client-id", Error: "invalid_client_id", Outcome: Misconfigured,
		Says: "The provider does not know this client ID.", Do: doClient},
	{ID: "deleted-client", Error: "deleted_client", Outcome: Misconfigured,
		Says: "The app was deleted at the provider.", Do: "Restore the app registration, or log in again with another app."},
	{ID: "disabled-client", Error: "disabled_client", Outcome: Misconfigured,
		Says: "The app is switched off at the provider.", Do: "Switch the app on again. Your login is kept."},
	{ID: "invalid-dpop-proof", Error: "invalid_dpop_proof", Outcome: Misconfigured, // RFC 9449 §5
		Says: "The provider did not accept the proof of the key this login is bound to.", Do: "Check this computer's clock and that the key is the one used at login. Your login is kept."},

	// Try again later.
	{ID: "use-dpop-nonce", Error: "use_dpop_nonce", Outcome: Transient, // RFC 9449 §8
		Says: "The provider asks for the request again with a number it just gave.", Do: doWait},
	{ID: "temporarily-unavailable", Error: "temporarily_unavailable", Outcome: Transient,
		Says: "The provider is overloaded or being maintained.", Do: doWait},
	{ID: "service-unavailable", Error: "service_unavailable", Outcome: Transient,
		Says: "The provider is overloaded or being maintained.", Do: doWait},
	{ID: "server-error", Error: "server_error", Outcome: Transient,
		Says: "Something went wrong at the provider.", Do: doWait},
	{ID: "rate-limit-exceeded", Error: "rate_limit_exceeded", Outcome: Transient,
		Says: "There were too many requests in a short time.", Do: doWait},
	{ID: "rate-limited", Error: "rate_limited", Outcome: Transient,
		Says: "There were too many requests in a short time.", Do: doWait},
	{ID: "ratelimited", Error: "ratelimited", Outcome: Transient,
		Says: "There were too many requests in a short time.", Do: doWait},
	{ID: "too-many-requests", Error: "too_many_requests", Outcome: Transient,
		Says: "There were too many requests in a short time.", Do: doWait},
	{ID: "slow-down", Error: "slow_down", Outcome: Transient, RetryAfter: Duration(5 * time.Second), // RFC 8628 §3.5
		Says: "The provider asks for fewer requests.", Do: doWait},
	{ID: "authorization-pending", Error: "authorization_pending", Outcome: Transient, RetryAfter: Duration(5 * time.Second),
		Says: "You have not approved the login yet.", Do: "Open the address shown, enter the code and approve."},

	// A refusal that is not about the token.
	{ID: "access-denied", Error: "access_denied", Outcome: Blocked,
		Says: "Access was refused, by you at login or by a rule at the provider.", Do: "Approve the login, or ask an administrator what forbids it. Your login is kept."},

	// Answers judged by their status, when nothing above fits.
	{ID: "status-redirect", Status: 3, Outcome: Misconfigured,
		Says: "The address sends us elsewhere, and a secret must not follow.", Do: "Check the token URL: take the final address from the provider's documentation. Your login is kept."},
	{ID: "status-401", Status: 401, Outcome: Misconfigured,
		Says: "The provider rejected the app without saying why.", Do: doClient},
	{ID: "status-403", Status: 403, Outcome: Blocked,
		Says: "The provider, or a firewall before it, refused the request without saying why.", Do: doAdmin},
	{ID: "status-404", Status: 404, Outcome: Misconfigured,
		Says: "There is nothing at this address.", Do: "Check the token URL. Your login is kept."},
	{ID: "status-405", Status: 405, Outcome: Misconfigured,
		Says: "This address does not take token requests.", Do: "Check the token URL. Your login is kept."},
	{ID: "status-407", Status: 407, Outcome: Misconfigured,
		Says: "The proxy of your network wants a name and password.", Do: "Put them into the proxy settings. Your login is kept."},
	{ID: "status-408", Status: 408, Outcome: Uncertain,
		Says: "The provider gave up waiting, so it is not certain whether it acted.", Do: "Keep using the token you have; evergrant finds out at the next refresh."},
	{ID: "status-429", Status: 429, Outcome: Transient,
		Says: "There were too many requests in a short time.", Do: doWait},
	{ID: "status-503", Status: 503, Outcome: Transient,
		Says: "The provider is overloaded or being maintained.", Do: doWait},
	{ID: "status-511", Status: 511, Outcome: Transient,
		Says: "Your network wants you to sign in before it lets anything through.", Do: "Open a web page and sign in to the network."},
	{ID: "status-5xx", Status: 5, Outcome: Uncertain,
		Says: "Something went wrong at the provider, so it is not certain whether it acted.", Do: "Keep using the token you have; evergrant finds out at the next refresh."},
}
