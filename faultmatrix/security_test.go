package faultmatrix_test

import (
	"strings"

	"github.com/evergrant/evergrant"
)

// storageRows concern stores of the service, which is not built yet.
func storageRows() []row {
	const (
		sql     = "the SQL stores are not built yet"
		service = "the service is not built yet"
	)
	return []row{
		{"3.4-1", "the database restarts", []fault{
			{name: "before, during and after the commit of the intent", says: "read back by the attempt's id before anything else", proof: notYet(sql)},
			{name: "before, during and after the commit of the answer", says: "held, read back, stored", proof: notYet(sql)},
			{name: "a store that fails for a while, by the contract", says: "no token is taken away; the answer is held", proof: by(". TestSickStoreTakesNoTokenAway", ". TestP2HeldInMemory")},
		}},
		{"3.4-2", "trouble in the commit", []fault{
			{name: "connection lost, pooler, lock timeout, deadlock, serialization failure", says: "reads are repeated, the request never", proof: notYet(sql)},
		}},
		{"3.4-3", "failover", []fault{
			{name: "to a replica that lags, asynchronous commit, two primaries", says: "a lost result is a request in doubt; refused on a read-only node", proof: notYet(sql)},
			{name: "a late writer after a newer generation, by the contract", says: "gives way", proof: by(". TestLateWriterGoesNotBack", ". TestMemory")},
		}},
		{"3.4-4", "a lock that is lost with its connection", []fault{
			{name: "advisory lock", says: "the generation fences", proof: notYet(sql)},
		}},
		{"3.4-5", "SQLite", []fault{
			{name: "busy, grown log, full disk in a checkpoint, copied live file, another pragma", says: "WAL and synchronous=FULL asserted at opening", proof: notYet(sql)},
		}},
		{"3.4-6", "damage", []fault{
			{name: "flipped bits and cut files of sealed records", says: "found, never misread, never written over", proof: by("store/keyring TestFlippedBits", "store/keyring TestTruncated", "store/keyring TestTornMark")},
			{name: "a record under another's name", says: "refused", proof: by("store/keyring TestCopiedUnderAnotherName")},
			{name: "a record of an older generation put back", says: "found", proof: by("store/keyring TestPutBack", "store/keyring TestPutBackAfterDelete")},
			{name: "a newer format", says: "refused, not misread", proof: by("store/keyring TestNewerFormat")},
			{name: "corrupted page, truncated database", says: "found, never misread", proof: notYet(sql)},
			{name: "a state or record that cannot be read", says: "refused, nothing sent, never written over", proof: shows(unreadableState)},
			{name: "random states and records", says: "one meaning, and nothing is written over", proof: by(". FuzzSideFile", ". FuzzRecord")},
			{name: "a backup with old generations", says: "a replaced refresh token is never sent", proof: by(". TestP5InDoubtIsAState/a token set back clears nothing and is not sent", "cmd/evergrant TestScripts/set-back")},
			{name: "a backup restored on another machine", says: "starts in doubt", proof: notYet(sql)},
		}},
		{"3.4-7", "keys", []fault{
			{name: "wrong or missing key of named grants", says: "serves nothing, writes nothing", proof: by("store/keyring TestSourceMismatch", "store/keyring TestKeyFileRefused", "store/keyring TestNoKeyring")},
			{name: "killed while the key is changed", says: "resumed record by record", proof: by("store/keyring TestKilledRekey", "store/keyring TestRekeyResumed", "store/keyring TestRekeyPassphraseAmongWriters")},
			{name: "a key service that is down", says: "sealed: serves nothing, writes nothing", proof: notYet(service)},
		}},
		{"3.4-8", "all due at once", []fault{
			{name: "ten thousand grants after an outage", says: "no provider sees more than its rate", proof: notYet(service)},
			{name: "grants of one age in one program", want: evergrant.Fresh, says: "spread within the margin, none before it", proof: shows(spread)},
		}},
	}
}

// refusalIn is a refusal whose words attack whoever reads them.
func refusalIn(status int, body string, want evergrant.Outcome, never ...string) fault {
	return fault{want: want, proof: shows(func(tr *trial) {
		tr.wired(rotating, says(status, "", body))
		_, e := tr.refresh()
		if e == nil || e.Outcome != tr.want {
			tr.t.Fatalf("got %v", e)
		}
		text := e.Error() + e.Detail + e.Code + e.Says + e.Hint() + tr.status().LastSays
		for _, bad := range never {
			if strings.Contains(text, bad) {
				tr.t.Errorf("the message holds %q: %q", bad, text)
			}
		}
		tr.over()
		tr.refresh()
	})}
}

func named(name, says string, f fault) fault {
	f.name, f.says = name, says
	return f
}

func securityRows() []row {
	const service = "the service is not built yet"
	return []row{
		{"3.5-1", "leaks", []fault{
			{name: "output, logs, files, side files, names, core files, /proc", says: "marked tokens are found nowhere", proof: by("canary TestArtefacts")},
			{name: "%v, JSON, slog, errors, panics", says: "[redacted]", proof: by("oauth TestNothingPrintsSecrets", "oauth TestSecret", ". TestSourcePrintsNoToken", ". TestP7NoSecretLeaks")},
			{name: "a server that quotes the token", says: "scrubbed", proof: by(". TestP7QuotedToken", ". TestQuotedSecretsAreScrubbed")},
			{name: "the transcript of -v", says: "names and sizes only", proof: by("oauth TestTranscript", "oauth TestTranscriptHostile")},
			{name: "in the source", says: "no secret is formatted", proof: by(". TestSecretsAreNotPrinted", ". TestOpaqueIsNotPrinted")},
			{name: "metrics, traces, audit, support bundle, heap profile", says: "nothing", proof: notYet(service)},
		}},
		{"3.5-2", "secrets in arguments and environment", []fault{
			{name: "of the program", says: "given by reference only", proof: by("conformance secrets/arguments", "canary TestArtefacts")},
			{name: "of the browser that is opened", says: "the address only, without a secret", proof: by("login TestOpenBROWSER", "login TestSecretsStayIn")},
			{name: "of hooks", says: "the name of the file, no token", proof: by("cmd/evergrant TestScripts/watch", "canary TestArtefacts")},
			{name: "of the command of exec", says: "the token in its environment, because it was asked for; nothing else", proof: by("cmd/evergrant TestScripts/exec")},
		}},
		{"3.5-3", "a hostile URL for the browser", []fault{
			{name: "javascript:, file:, an option, a semicolon, a line end, %CMD%", says: "https only, no shell", proof: by("login TestOpenRefused_8628_2", "login TestOpenBROWSER")},
		}},
		{"3.5-4", "files", []fault{
			{name: "modes of side files", says: "0600", proof: by(". TestP7SideFilesArePrivate", "cmd/evergrant TestPlaces/the mode stays")},
			{name: "a token file that others can read", says: "told", proof: by("cmd/evergrant TestPlaces/the mode stays")},
			{name: "a folder that is swapped for another", says: "the one that was opened is used", proof: by("internal/lockedfile TestReserveInSwappedDirectory")},
			{name: "a login between the look and the exchange", says: "it gets its name back", proof: by(". TestP3LoginBeforeTheExchange", ". TestP3LoginInTheLastMoment", "internal/lockedfile TestSwapFindsForeignWrite")},
			{name: "a state written by another user", says: "no reference in it is followed; a lock of another user is refused", proof: by(". TestReferenceInAnothersJournalIsNotFollowed", ". TestReferenceIsFollowedWhereItWasSaid", "internal/lockedfile TestOtherUsers")},
			{name: "100,000 swaps by a racing process", says: "never another file", proof: notYet("needs an attacker with write access to the folder, who can take the file itself")},
		}},
		{"3.5-5", "forged requests", []fault{
			{name: "callback without state, or with another's", says: "refused, and the login goes on", proof: by("login TestStray_8252_2/9700-2 wrong state", "login TestStray_8252_2/9700-2 no state", "login TestStray_8252_2/2.1-10 state twice")},
			{name: "DNS rebinding of the callback", says: "refused", proof: by("login TestStray_8252_2/rebound name", "login TestStray_8252_2/rebound name with our port")},
			{name: "another method or form of body", says: "refused", proof: by("login TestStray_8252_2/method", "login TestStray_8252_2/JSON")},
			{name: "the callback is heard beyond this machine", says: "loopback only, and only while the login runs", proof: by("login TestLoopback_8252_1")},
			{name: "the local proxy is used by a web page", says: "refused", proof: by("cmd/evergrant TestProxyRefuses", "cmd/evergrant TestProxyOwnHosts")},
			{name: "at socket, console and API", says: "refused", proof: notYet(service)},
		}},
		{"3.5-6", "mix-up, code injection, PKCE downgrade, missing iss", []fault{
			{name: "iss of another server, or none where it is promised", says: "refused", proof: by("login TestMixUp_9700_3")},
			{name: "a code from another login", says: "refused: it is bound by PKCE and state", proof: by("login TestPKCE_7636_1", "login TestOneCallback_8252_1")},
			{name: "a server that offers only plain PKCE", says: "S256 or nothing", proof: by("login TestPKCE_7636_1/the server lists plain only")},
			{name: "an ID token of another client, nonce or time", says: "refused", proof: by("jose TestIDTokenRequest", "jose TestIDTokenClaims", "login TestIDTokenRefused")},
		}},
		{"3.5-7", "open redirect", []fault{
			{name: "of the login's listener", says: "it leads nowhere", proof: by("login TestStray_8252_2/9700-1 no open redirector")},
			{name: "return_to", says: "only own paths", proof: notYet(service)},
		}},
		{"3.5-8", "requests to where nobody meant them", []fault{
			{name: "plain http to another host", want: evergrant.Misconfigured, says: "nothing is dialled", proof: by("oauth TestPlainHTTPToAnotherHost", "oauth TestCheckEndpoint")},
			{name: "an edit of the document names another token endpoint", want: evergrant.Fresh, says: "what was remembered stands", proof: shows(otherEndpoint)},
			{name: "a token for a host it was not issued for", says: "not sent", proof: by(". TestClientKeepsTheTokenToItsHost", ". TestTokenStaysOffPlainHTTP")},
			{name: "answers of any size", says: "512 KiB", proof: by("oauth TestBombs")},
			{name: "endpoints that a server's metadata name", says: "checked before they are used", proof: by("login TestDiscoverGate_9728_1", "login TestDiscoverRefused")},
			{name: "a request through the local proxy to another host", says: "without the token", proof: by("cmd/evergrant TestProxyKeepsTheToken", "cmd/evergrant TestProxyForward")},
			{name: "addresses of a tenant's URLs", says: "checked when dialling", proof: notYet(service)},
		}},
		{"3.5-9", "words that attack the reader", []fault{
			named("terminal escapes in error_description", "cleaned", refusalIn(400, `{"error":"invalid_client","error_description":"\u001b[2J\u001b]0;owned\u0007\u009b31m"}`, evergrant.Misconfigured, "\x1b", "\x07", "\u009b")),
			named("bidirectional controls", "cleaned", refusalIn(400, `{"error":"invalid_client","error_description":"\u202etxt.exe\u2066"}`, evergrant.Misconfigured, "\u202e", "\u2066")),
			named("a line that looks like ours", "one line", refusalIn(400, `{"error":"invalid_client","error_description":"x\nevergrant: all is well"}`, evergrant.Misconfigured, "\n")),
			named("escapes in the error code", "cleaned", refusalIn(400, `{"error":"\u001b[31mteapot"}`, evergrant.Misconfigured, "\x1b")),
			{name: "the page after a login", says: "escaped, nothing from elsewhere, no code left in the history", proof: by("login TestPage_9700_10")},
			{name: "pages of the console", says: "escaped", proof: notYet(service)},
		}},
		{"3.5-10", "API keys", []fault{{name: "timing, enumeration of grants", says: "the same answer", proof: notYet(service)}}},
		{"3.5-11", "replay", []fault{
			{name: "of the callback", says: "once only", proof: by("login TestOneCallback_8252_1")},
			{name: "of an assertion or a proof", says: "a new one for every request", proof: by("jose TestAssertion7523_1", "jose TestProof9449_1")},
			{name: "of a webhook or a signed URL", says: "once only", proof: notYet(service)},
		}},
		{"3.5-12", "tenants", []fault{{name: "one tenant asks for another's grant", says: "not there", proof: notYet(service)}}},
		{"3.5-13", "theft of database or backup", []fault{
			{name: "of the folder with named grants, without its key", says: "no token in it", proof: by("store/keyring TestCanary")},
			{name: "of a database or its backup, without the key", says: "no token in it", proof: notYet(service)},
			{name: "of the state beside a token file", says: "salted fingerprints only", proof: by("canary TestArtefacts", ". TestP7NoSecretLeaks")},
		}},
		{"3.5-14", "theft from memory", []fault{
			{name: "core file, /proc/PID/mem by the same user", says: "denied", proof: notYet("the command line ends within a second; the agent and the service will set it")},
		}},
		{"3.5-15", "supply chain", []fault{
			{name: "what the library pulls in", says: "no tests, databases or command line", proof: by(". TestLibraryIsLean", ". TestDangerousImports")},
			{name: "what the tests pull in", says: "pinned by checksum", proof: by("interop TestLockFile")},
		}},
	}
}
