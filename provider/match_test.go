package provider_test

import (
	"slices"
	"testing"
	"time"

	"github.com/evergrant/evergrant/provider"
)

func get(t *testing.T, name string) *provider.Provider {
	t.Helper()
	p, err := provider.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		provider          string
		status            int
		code, description string
		want              string // outcome/id, empty for no match
	}{
		// The generic table, by RFC 6749 §5.2, RFC 8628 §3.5 and status.
		{"", 400, "invalid_grant", "", "dead/invalid-grant"},
		{"", 401, "invalid_client", "", "misconfigured/invalid-client"},
		{"", 400, "invalid_grant", "The token is Already Being Processed.", "busy/busy-processed"},
		{"", 400, "slow_down", "", "transient/slow-down"},
		{"", 400, "authorization_pending", "", "transient/authorization-pending"},
		{"", 400, "access_denied", "", "blocked/access-denied"},
		{"", 400, "server_error", "", "transient/server-error"},
		{"", 400, "INVALID_GRANT", "", "dead/invalid-grant"},
		{"", 200, "bad_refresh_token", "", "dead/bad-refresh-token"},
		{"", 400, "", "", ""},
		{"", 400, "never_heard_of", "anything", ""},
		{"", 200, "", "", ""},
		{"", 0, "invalid_grant", "", ""},
		{"", 429, "", "", "transient/status-429"},
		{"", 429, "invalid_grant", "", "transient/status-429"},
		{"", 403, "", "<html>", "blocked/status-403"},
		{"", 404, "", "", "misconfigured/status-404"},
		{"", 302, "", "", "misconfigured/status-redirect"},
		{"", 302, "invalid_grant", "", "misconfigured/status-redirect"},
		{"", 503, "", "", "transient/status-503"},
		{"", 500, "", "", "uncertain/status-5xx"},
		// A 5xx is never dead, whatever it says.
		{"", 500, "invalid_grant", "expired", "uncertain/status-5xx"},
		{"", 503, "invalid_grant", "", "transient/status-503"},
		{"salesforce", 502, "invalid_grant", "expired access/refresh token", "uncertain/status-5xx"},
		// Providers' own words.
		{"salesforce", 400, "invalid_grant", "something new", "dead/invalid-grant"},
		{"salesforce", 400, "something_new", "number of logins exceeded", "transient/login-rate-number"},
		{"github", 200, "bad_refresh_token", "The refresh token passed is incorrect or expired.", "dead/bad-refresh-token"},
		{"zoho", 200, "Access Denied", "", "transient/throttled"},
		{"exact-online", 400, "unauthorized_client", "Old refresh token used.", "dead/old-token-used"},
		{"microsoft", 400, "invalid_grant", "AADSTS700082: The refresh token has expired", "dead/idle"},
		{"microsoft", 401, "invalid_client", "AADSTS7000222: expired", "misconfigured/secret-expired"},
		{"hubspot", 400, "bad_refresh_token", "", "dead/bad-refresh-token"},
		{"atlassian", 403, "unauthorized_client", "Unknown or invalid refresh token.", "dead/unknown-token"},
		{"keycloak", 400, "invalid_grant", "Maximum allowed refresh token reuse exceeded", "dead/reuse-exceeded"},
		{"slack", 200, "internal_error", "", "uncertain/internal-error"},
		// Busy wins over a provider's plain invalid_grant.
		{"quickbooks", 400, "invalid_grant", "refresh already in progress", "busy/busy-progress"},
		{"quickbooks", 400, "invalid_grant", "Incorrect Token", "dead/invalid-grant"},
		// What rests on general knowledge never ends a grant.
		{"x", 400, "invalid_request", "Value passed for the token was invalid.", "blocked/used-token"},
		{"gitea", 400, "unauthorized_client", "unable to parse refresh token", "blocked/unparsable"},
	} {
		var p *provider.Provider
		if tt.provider != "" {
			p = get(t, tt.provider)
		}
		got := ""
		if rule, ok := provider.Match(p, tt.status, tt.code, tt.description); ok {
			got = rule.Outcome + "/" + rule.ID
		}
		if got != tt.want {
			t.Errorf("Match(%s, %d, %q, %q) = %q, want %q", tt.provider, tt.status, tt.code, tt.description, got, tt.want)
		}
	}
}

// TestSalesforce holds the entry to the whole table of that server's errors.
func TestSalesforce(t *testing.T) {
	p := get(t, "salesforce")
	const g = "invalid_grant"
	rows := map[string][][2]string{
		provider.Busy: {{g, "token request is already being processed"}, {g, "expired authorization code"}},
		provider.Dead: {{g, "expired access/refresh token"}, {"invalid_token", ""}},
		provider.Transient: {{"rate_limit_exceeded", "Number of logins exceeded"}, {"unknown_error", "retry your request"},
			{"server_error", ""}, {"service_unavailable", ""}, {"system_down", ""}, {"app_attest_failed_retry", ""},
			{"use_dpop_nonce", ""}, {"authorization_pending", ""}, {"slow_down", ""}},
		provider.Blocked: {{"invalid_app_access", "user is not admin approved to access this app"}, {g, "ip restricted or invalid login hours"},
			{g, "inactive organization"}, {"inactive_org", ""}, {"inactive_user", ""}, {"invalid_client", "app must be installed into org"},
			{"oauth_flow_disabled", ""}, {"app_blocked", ""}, {"fail_close_app_blocked", ""}, {"app_not_found", ""},
			{"ecapp_policy_not_found", ""}, {"oauth_policy_not_found", ""}, {"installation_error", ""}, {"invalid_distribution_state", ""},
			{"OAUTH_APP_BLOCKED", ""}, {"OAUTH_EC_APP_NOT_FOUND", "External client app is not installed in this org"},
			{"OAUTH_APPROVAL_ERROR_GENERIC", ""}, {"access_denied", ""}},
		provider.Misconfigured: {{g, "invalid authorization code"}, {g, "user hasn't approved this consumer"}, {g, "Audience validation failed"},
			{g, "audience is invalid"}, {g, "invalid assertion"}, {g, "expired"}, {g, "authentication failure"}, {g, "authentication failure - Invalid Password"},
			{"invalid_client_id", "client identifier invalid"}, {"invalid_client", "invalid client credentials"},
			{"invalid_basic_auth_header", ""}, {"invalid_assertion_type", ""}, {"bad_jti_claim", ""}, {"invalid_request", ""}, {"invalid_scope", ""},
			{"unsupported_grant_type", "grant type not supported"}, {"unsupported_response_type", ""}, {"redirect_uri_missing", ""},
			{"redirect_uri_mismatch", "redirect_uri must match configuration"}, {"unsupported_token_type", ""}, {"invalid_session_level", ""},
			{"invalid_expid", ""}, {"unsupported_expid", ""}, {"app_attest_failed", ""}, {"invalid_dpop_proof", ""}, {"immediate_unsuccessful", ""},
			{"login_error", ""}, {"otp_error", ""}, {"invalid_otp", ""}, {"registration_error", ""}, {"failed_registration", ""},
			{"exceeded_registration_limit", ""}, {g, "no client credentials user enabled"}, {g, "request not supported on this domain"}},
	}
	for want, answers := range rows {
		for _, a := range answers {
			rule, ok := provider.Match(p, 400, a[0], a[1])
			if !ok || rule.Outcome != want {
				t.Errorf("%s %q: %q (row %s), want %s", a[0], a[1], rule.Outcome, rule.ID, want)
			}
			if !slices.ContainsFunc(p.Errors, func(r provider.ErrorRule) bool { return r.ID == rule.ID && r.Says == rule.Says }) {
				t.Errorf("%s %q: row %s is not one of the entry's own", a[0], a[1], rule.ID)
			}
		}
	}
	if rule, _ := provider.Match(p, 400, "rate_limit_exceeded", ""); time.Duration(rule.RetryAfter) != time.Hour {
		t.Errorf("login rate: wait %v, want an hour", rule.RetryAfter)
	}
}

// TestGeneric checks the generic table by the rules the data files obey.
func TestGeneric(t *testing.T) {
	p := &provider.Provider{Name: "generic-table", Title: "x", Errors: provider.Generic()}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	checkSentences(t, p)
	provider.Generic()[0].Outcome = provider.Dead
	if provider.Generic()[0].Outcome != provider.Busy {
		t.Error("Generic hands out the table itself")
	}
}

// FuzzMatch: whatever a server says, a 5xx is never dead and a 400 without a
// code and description is no verdict.
func FuzzMatch(f *testing.F) {
	f.Add(500, "invalid_grant", "expired access/refresh token")
	f.Add(429, "bad_refresh_token", "")
	all, err := provider.All()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, code, description string) {
		for _, p := range append(all, nil) {
			rule, ok := provider.Match(p, status, code, description)
			if ok && rule.Outcome == provider.Dead && (status >= 500 || status == 429 || status < 200) {
				t.Errorf("status %d, %q %q is dead by row %s", status, code, description, rule.ID)
			}
			if ok && rule.Says == "" {
				t.Errorf("row %s says nothing", rule.ID)
			}
		}
	})
}
