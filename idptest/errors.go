package idptest

import "slices"

// An ErrorRow is one refusal a real token endpoint gives, by name.
type ErrorRow struct {
	Name        string // unique; the argument of the "error" fault
	Code        string // the OAuth error code; "" where the row has none
	Description string // error_description; "" leaves the member out
	Status      int    // HTTP status
	// Action is what a careful client makes of it: busy, retry, backoff, dead
	// (only after a re-read), config, blocked, pending, slow, stop,
	// interactive, login, once.
	Action string
}

// ErrorTable lists the refusals, most of them as Salesforce words them: every
// one with status 400, so that only the body tells them apart.
func ErrorTable() []ErrorRow { return slices.Clone(errorTable) }

// ErrorNames lists the names of ErrorTable.
func ErrorNames() []string {
	out := make([]string, len(errorTable))
	for i, row := range errorTable {
		out[i] = row.Name
	}
	return out
}

func busyGrant() ErrorRow   { return mustError("busy") }
func deadGrant() ErrorRow   { return mustError("dead") }
func badSecret() ErrorRow   { return mustError("invalid_client") }
func badClientID() ErrorRow { return mustError("invalid_client_id") }

var errorTable = []ErrorRow{
	{"busy", "invalid_grant", "token request is already being processed", 400, "busy"},
	{"busy-2024", "invalid_grant", "expired authorization code", 400, "busy"}, // on a refresh; on a code exchange it means login again
	{"dead", "invalid_grant", "expired access/refresh token", 400, "dead"},
	{"bad-code", "invalid_grant", "invalid authorization code", 400, "login"},
	{"not-approved", "invalid_grant", "user hasn't approved this consumer", 400, "config"},
	{"not-admin-approved", "invalid_app_access", "user is not admin approved to access this app", 400, "blocked"},
	{"audience-failed", "invalid_grant", "Audience validation failed", 400, "config"},
	{"audience-invalid", "invalid_grant", "audience is invalid", 400, "config"},
	{"bad-assertion", "invalid_grant", "invalid assertion", 400, "config"},
	{"assertion-expired", "invalid_grant", "expired", 400, "config"},
	{"auth-failure", "invalid_grant", "authentication failure", 400, "config"},
	{"bad-password", "invalid_grant", "authentication failure - Invalid Password", 400, "config"},
	{"ip-restricted", "invalid_grant", "ip restricted or invalid login hours", 400, "blocked"},
	{"inactive-organization", "invalid_grant", "inactive organization", 400, "blocked"},
	{"inactive_org", "inactive_org", "organization is inactive", 400, "blocked"},
	{"inactive_user", "inactive_user", "user is inactive", 400, "blocked"},
	{"no-cc-user", "invalid_grant", "no client credentials user enabled", 400, "config"},
	{"wrong-domain", "invalid_grant", "request not supported on this domain", 400, "config"},
	{"rate_limit_exceeded", "rate_limit_exceeded", "Number of logins exceeded", 400, "backoff"},
	{"invalid_client_id", "invalid_client_id", "client identifier invalid", 400, "config"},
	{"invalid_client", "invalid_client", "invalid client credentials", 400, "config"},
	{"not-installed", "invalid_client", "app must be installed into org", 400, "blocked"},
	{"unauthorized_client", "unauthorized_client", "client not authorized for this grant type", 400, "config"},
	{"invalid_basic_auth_header", "invalid_basic_auth_header", "invalid basic auth header", 400, "config"},
	{"invalid_assertion_type", "invalid_assertion_type", "assertion type must be valid", 400, "config"},
	{"bad_jti_claim", "bad_jti_claim", "jti has been used", 400, "config"},
	{"invalid_request", "invalid_request", "must use HTTP POST", 400, "config"},
	{"invalid_scope", "invalid_scope", "the requested scope is not allowed", 400, "config"},
	{"unsupported_grant_type", "unsupported_grant_type", "grant type not supported", 400, "config"},
	{"unsupported_response_type", "unsupported_response_type", "response type not supported", 400, "config"},
	{"redirect_uri_missing", "redirect_uri_missing", "redirect_uri not provided", 400, "config"},
	{"redirect_uri_mismatch", "redirect_uri_mismatch", "redirect_uri must match configuration", 400, "config"},
	{"unsupported_token_type", "unsupported_token_type", "token type not supported", 400, "config"},
	{"invalid_session_level", "invalid_session_level", "session level not supported", 400, "config"},
	{"invalid_expid", "invalid_expid", "invalid experience id", 400, "config"},
	{"unsupported_expid", "unsupported_expid", "experience id not supported", 400, "config"},
	{"oauth_flow_disabled", "oauth_flow_disabled", "flow is disabled", 400, "blocked"},
	{"app_blocked", "app_blocked", "app is blocked by admin", 400, "blocked"},
	{"fail_close_app_blocked", "fail_close_app_blocked", "app is blocked", 400, "blocked"},
	{"app_not_found", "app_not_found", "app not found", 400, "blocked"},
	{"ecapp_policy_not_found", "ecapp_policy_not_found", "policy not found", 400, "blocked"},
	{"oauth_policy_not_found", "oauth_policy_not_found", "policy not found", 400, "blocked"},
	{"installation_error", "installation_error", "installation failed", 400, "blocked"},
	{"invalid_distribution_state", "invalid_distribution_state", "invalid distribution state", 400, "blocked"},
	{"OAUTH_APP_BLOCKED", "OAUTH_APP_BLOCKED", "this app is blocked by admin", 400, "blocked"},
	{"OAUTH_EC_APP_NOT_FOUND", "OAUTH_EC_APP_NOT_FOUND", "External client app is not installed in this org", 400, "blocked"},
	{"OAUTH_APPROVAL_ERROR_GENERIC", "OAUTH_APPROVAL_ERROR_GENERIC", "an unexpected error has occured during authentication", 400, "blocked"},
	{"unknown_error", "unknown_error", "retry your request", 400, "retry"},
	{"server_error", "server_error", "unexpected error", 400, "retry"},
	{"service_unavailable", "service_unavailable", "service unavailable", 400, "retry"},
	{"system_down", "system_down", "system is down for maintenance", 400, "retry"},
	{"temporarily_unavailable", "temporarily_unavailable", "try again later", 400, "retry"},
	{"app_attest_failed_retry", "app_attest_failed_retry", "attestation failed, retry", 400, "once"},
	{"app_attest_failed", "app_attest_failed", "attestation failed", 400, "config"},
	{"use_dpop_nonce", "use_dpop_nonce", "nonce required", 400, "once"},
	{"invalid_dpop_proof", "invalid_dpop_proof", "invalid proof", 400, "config"},
	{"authorization_pending", "authorization_pending", "user has not yet approved", 400, "pending"},
	{"slow_down", "slow_down", "polling too fast", 400, "slow"},
	{"access_denied", "access_denied", "end-user denied authorization", 400, "stop"},
	{"expired_token", "expired_token", "device code expired", 400, "stop"}, // RFC 8628; Salesforce says invalid_grant
	{"immediate_unsuccessful", "immediate_unsuccessful", "immediate approval not possible", 400, "interactive"},
	{"login_error", "login_error", "login failed", 400, "login"},
	{"otp_error", "otp_error", "otp failed", 400, "login"},
	{"invalid_otp", "invalid_otp", "otp invalid", 400, "login"},
	{"registration_error", "registration_error", "registration failed", 400, "login"},
	{"failed_registration", "failed_registration", "registration failed", 400, "login"},
	{"exceeded_registration_limit", "exceeded_registration_limit", "too many registrations", 400, "login"},
	{"revoke-invalid", "invalid_token", "invalid token", 400, "config"},
	{"no-description", "invalid_grant", "", 400, "dead"},
	{"unknown-code", "something_new", "an error code nobody has seen", 400, "config"},
	{"invalid_client-401", "invalid_client", "client authentication failed", 401, "config"},
}

// mustError looks up a row that the code itself names.
func mustError(name string) ErrorRow {
	row, ok := errorNamed(name)
	if !ok {
		panic("idptest: no error row " + name)
	}
	return row
}

func errorNamed(name string) (ErrorRow, bool) {
	for _, row := range errorTable {
		if row.Name == name {
			return row, true
		}
	}
	return ErrorRow{}, false
}

func (row ErrorRow) reply() *reply {
	a := refusal(row.Code, row.Description)
	a.status = row.Status
	return a
}

// refusal is an RFC 6749 §5.2 error answer with status 400.
func refusal(code, description string) *reply {
	a := &reply{status: 400, verdict: "refused:" + code}
	a.object.set("error", code)
	if description != "" {
		a.object.set("error_description", description)
	}
	return a
}
