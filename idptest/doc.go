// Package idptest is a simulated OAuth 2.0 authorization server that misbehaves
// on demand and remembers everything.
//
//	s := idptest.New(idptest.Config{Persona: idptest.Salesforce, Habits: idptest.Habits{Rotation: true}})
//	defer s.Close()
//	base, err := s.Listen("127.0.0.1:0")
//	g := s.NewGrant(idptest.GrantSpec{ClientID: "app"})
//	os.WriteFile("token.json", g.TokenFile(), 0o600)
//	s.Next("lost") // the next refresh is processed, its answer never sent
//	… run the client against base …
//	for _, e := range s.TokenRequests(g.ID) { … e.Generation, e.Verdict, e.Processed, e.Delivered … }
//	s.GrantState(g.ID) // what the server would still accept
//
// A Server is also a plain http.Handler, for httptest or for a testing/synctest
// bubble over net.Pipe: it starts no goroutine unless Listen is called.
//
// # Personas
//
// Generic follows the RFCs: /authorize, /token, /revoke, /introspect,
// /device_authorization, /userinfo, /resource and both discovery documents.
// Salesforce has /services/oauth2/…, /id/…, /services/data/… with that server's
// tokens, members, words and leniency. Every authorization is approved at once.
//
// # Habits and faults
//
// A habit (HabitTable) is a lasting way of the server: rotation, grace, session
// lifetimes. A fault (FaultTable) happens to single token requests: Next queues
// them, the fault habit applies one to all. ErrorTable lists refusals, used as
// "error=NAME". All three are data; WriteHelp prints them, the control endpoint
// under /_sim/ sets them from other processes.
//
// # What the ledger promises
//
// Every request but those of the control endpoint is entered when it arrives,
// before anything is decided. Processed is set in the same critical section
// that issues the tokens. Delivered is set before the last byte is written, so
// a client that acts on an answer finds it so, and is taken back when the write
// fails or (plain TCP of Listen) when the client's system resets the connection
// with the answer unread; call WaitIdle before judging clients that were
// killed. Over TLS, or where somebody else listens, Delivered says only that
// the answer was handed to the system while the client was still connected.
//
// # Limits
//
// HTTP/1.1 only. No DPoP, PAR, mutual TLS or SAML. Passwords and approvals are not
// checked, signatures only for clients with a key. The ledger and spent refresh
// tokens are kept in memory for ever: about 1 KB a refresh. It must never be
// reachable by anybody else: it hands out raw tokens on request.
package idptest
