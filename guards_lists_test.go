package evergrant_test

// The guards below name each place that does what is dangerous. A list that
// names more than there is fails too, so that it says what is so.

// revealers are the functions that turn a Secret into text, and why they must.
var revealers = []string{
	// the caller's API request
	"Token.authorize",
	"tokenSource.Token", // an oauth2.Token is plain by its nature

	// comparing with what was sent and stored, by digest or in memory
	"Source.Rejected", "attempt.salvage", "attempt.answered", "attempt.misplaced",
	"attempt.expiry",      // the lifetime inside a JWT
	"Config.key",          // a key is parsed
	"Credentials.lacking", // its length
	"oauth.Secret.Equal", "oauth.Scrub",

	// the wire: what goes into a request
	"oauth.RefreshRequest", "oauth.Post", "oauth.Basic", "oauth.bearer", "oauth.tokenAsked",
	"oauth.CodeRequest", "oauth.PasswordRequest", "oauth.JWTBearerRequest", "oauth.SAMLBearerRequest", "oauth.ExchangeRequest",
	"oauth.Authorization.Form", "oauth.Authorization.check", "oauth.S256", "oauth.ParseCallback", "oauth.DeviceStyle.Poll",
	"oauth.RegisterRequest", "oauth.Registration.JSON", "oauth.VerifySalesforceSignature",

	// keys, signatures, and what is signed
	"jose.authenticate", "jose.Front", "jose.Proofs.Header", "jose.signSecret", "jose.Provider.candidates", "jose.checkHash",
	"jose.Inspect", "jose.parseBlock", "jose.parsePKCS12", "jose.pbes2.derive",
	"login.wire.document", "login.wire.identity", "login.wire.hybrid",
	"store/keyring.cost.key",

	// other programs' files, which hold them in the clear
	"internal/foreign.addSecret", "internal/foreign.claimsOf", "internal/foreign.encodeWith", "internal/foreign.readSalesforceCLI",
	"internal/foreign.writeForce", "internal/foreign.writeRclone",

	// asked for by a person, or kept in a file at a person's wish
	"cmd/evergrant.tokenFormats", "cmd/evergrant.tokenFormat.text", "cmd/evergrant.tokenJSON", "cmd/evergrant.execCredential", "cmd/evergrant.saslText", "cmd/evergrant.gitLines",
	"cmd/evergrant.gitHelper.get", "cmd/evergrant.refreshedJSON", "cmd/evergrant.printRefreshed", "cmd/evergrant.execCommand", "cmd/evergrant.exporting.grant",
	"cmd/evergrant.askOnce", "cmd/evergrant.boundDocument", "cmd/evergrant.loginFlow.finish",
	"cmd/evergrant.loginFlow.keepSecret", "cmd/evergrant.secretUnkept", "cmd/evergrant.secretBeside",
	"cmd/evergrant.withoutTokens", "cmd/evergrant.target.checkIdentity", "cmd/evergrant.documentOf", // compared with what a server says
}

// printers may format a revealed secret: the user asked for it.
var printers = []string{"cmd/evergrant.printRefreshed"}

// bytePrinters print bytes that hold no answer and no token file.
var bytePrinters = []string{
	"cmd/evergrant.simulate",          // the certificate of the simulator
	"cmd/evergrant.ui.jsonLine",       // a result, encoded
	"provider.Duration.UnmarshalText", // a line of a catalog
}

// senders hand a request to the wire, each once for each decision to send.
var senders = []string{
	"engine.send",      // the refresh
	"userinfo",         // the account of a token
	"login.wire.send",  // a login
	"login.wire.spend", // what of it is good once
}

// sharers use what net/http shares.
var sharers = []string{"Source.Client"} // its transport, for the caller's own API requests, as http.Client does

// execs start other programs.
var execs = []string{
	"login.start", "login.systemBrowser", // a browser, with a checked address
	"cmd/evergrant.become",            // the command of exec
	"cmd/evergrant.secretFromCommand", // a secret by reference
	"cmd/evergrant.watcher.runHook",   // a hook
	"cmd/evergrant.demo.sixteen", "cmd/evergrant.demo.expect",
}

// randoms use numbers that can be foreseen: for a wait and a temporary name, never
// for what must not be guessed.
var randoms = []string{
	"internal/lockedfile.Acquire",     // how long to wait for the lock
	"internal/lockedfile.ReplaceWith", // a temporary name, made exclusively
}

// talkers write to the streams of the process.
var talkers = []string{
	"cmd/evergrant.run", "cmd/evergrant.secretFromCommand",
	"cmd/evergrant.keyChoice.newPassphrase", // asks a person
}

// goroutines are the functions that start them, and leakTests the folders whose
// tests look for those that are left over.
var (
	goroutines = []string{
		"Source.flight",
		"login.PasteFrom", "login.ways.paste", "login.listener.serve", "login.watched",
		"store/keyring.withKeyring",
		"cmd/evergrant.watchAll", "cmd/evergrant.proxy.serve", "cmd/evergrant.proxy.part", "cmd/evergrant.demo.sixteen", "cmd/evergrant.ui.working",
		"cmd/evergrant.deletion.agreed", "cmd/evergrant.hidden",
	}
	leakTests = map[string]string{
		"":      "faultmatrix", // after each fault
		"oauth": "oauth", "login": "login", "store/keyring": "store/keyring", "cmd/evergrant": "cmd/evergrant",
	}
)

// sleepers wait by time.Sleep, which no context ends: for milliseconds, or
// because nothing may end it.
var sleepers = []string{
	"attempt.store", "attempt.setAside", // an answer is in hand and has to be stored
	"filePlace.readAt", "fileTry.look", // another program is in the middle of writing the file
	"internal/lockedfile.retrySharing", // the same on Windows
	"cmd/evergrant.demo.sixteen",
}

// enders end the process.
var enders = []string{"cmd/evergrant.main"}

// variables are package-level variables that are not only read.
var variables = []string{"browser.Stdout", "browser.Stderr"} // the library has no other way to keep an opener quiet; set once

// thirdParty is what each package may import that is neither ours nor of the
// standard library. A new dependency is a line here and in docs/design.md.
var thirdParty = map[string][]string{
	"":                    {"golang.org/x/oauth2", "golang.org/x/sys", "github.com/go-json-experiment/json"},
	"provider":            {},
	"oauth":               {"github.com/go-json-experiment/json"},
	"jose":                {"github.com/go-jose/go-jose/v4", "software.sslmate.com/src/go-pkcs12", "golang.org/x/crypto"},
	"login":               {"github.com/cli/browser", "rsc.io/qr", "github.com/go-json-experiment/json"},
	"store/keyring":       {"github.com/zalando/go-keyring", "golang.org/x/crypto", "golang.org/x/sys"},
	"internal/foreign":    {"github.com/go-json-experiment/json"},
	"internal/tokenfile":  {"github.com/go-json-experiment/json"},
	"internal/lockedfile": {"github.com/gofrs/flock", "golang.org/x/sys"},
	"idptest":             {},
	"storetest":           {},
	"conformance":         {"golang.org/x/sys"},
	"cmd/evergrant":       {"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/sys", "golang.org/x/term", "github.com/zalando/go-keyring", "github.com/go-json-experiment/json"},
}
