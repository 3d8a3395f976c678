package main

// mutations is the list: each entry breaks one promise of docs/design.md in
// one place (wire: a promise of package oauth). The texts are kept short, so
// that an entry outlives a change of the code around it.
var mutations = []mutation{

	// P1: one refresh per generation.

	{id: "P1-lock", promise: "P1", breaks: "the lock of the token file is not taken: each refresh locks a file of its own",
		edits: []edit{{"fileplace.go", `lockedfile.Acquire(ctx, at.lock())`, `lockedfile.Acquire(ctx, at.lock()+randomHex(4))`}},
		pkg:   ".", run: "^TestP1OneRefreshPerGeneration$", quick: true},
	{id: "P1-lock-shared", promise: "P1", breaks: "the lock of the kernel is a shared one",
		edits: []edit{{"internal/lockedfile/lock.go", `fl.TryLock()`, `fl.TryRLock()`}},
		pkg:   "./internal/lockedfile", run: "^TestLockExcludes"},
	{id: "P1-lock-memory", promise: "P1", breaks: "the lock of the memory store excludes nobody",
		edits: []edit{{"memory.go", `m.locks[id] = mine`, `_ = mine`}},
		pkg:   ".", run: "^TestMemory$"},
	{id: "P1-reread", promise: "P1", breaks: "nothing is read again after the lock",
		edits: []edit{{"engine.go", `h, err := s.read(ctx)`, `h, err := g.seen.Load().h, error(nil)`}},
		pkg:   ".", run: "^TestP1OneRefreshPerGeneration$"},
	{id: "P1-flight", promise: "P1", breaks: "callers in one process do not share a flight",
		edits: []edit{{"source.go", `if f := s.flights[q]; f != nil {`, `if f := s.flights[q]; f != nil && false {`}},
		pkg:   ".", run: "^TestP1FlightIsShared$"},
	{id: "P1-newer", promise: "P1", breaks: "a refresh that waited does not adopt what another one brought",
		edits: []edit{{"decide.go", `newer := h.st.newerThan(q.since, h) || q.sinceStart`, `newer := q.sinceStart && false`}},
		pkg:   ".", run: "^TestP1OneRefreshPerGeneration$"},
	{id: "P1-rejected", promise: "P1", breaks: "a report about an older token is taken for one about the newest",
		edits: []edit{{"decide.go", `if digestOf(h.file.AccessToken()) != q.rejected && servable`, `if false && servable`}},
		pkg:   ".", run: "^TestP1OneRefreshPerGeneration$"},
	{id: "P1-doubt", promise: "P1", breaks: "a request in doubt does not keep the next one from being sent",
		edits: []edit{{"decide.go", `return inDoubt(q, h, t, e, now)`, `return paced(q, h, e, now)`}},
		pkg:   ".", run: "^TestP5InDoubtIsAState$/^no_second_send"},
	{id: "P1-again", promise: "P1", breaks: "the call that lost a reply sends again without a grace window",
		edits: []edit{{"attempt.go", `o.again = x.t.grace() > 0`, `o.again = true`}},
		pkg:   ".", run: "^TestP5LastTryWaits$"},

	// P2: durable before used.

	{id: "P2-sync-answer", promise: "P2", breaks: "the answer takes its place without an fsync of its file",
		edits: []edit{{"internal/lockedfile/temp.go", `return t.file.Sync()`, `return nil`}},
		pkg:   ".", run: "^TestP2SyncedBeforeUsed$"},
	{id: "P2-sync-folder", promise: "P2", breaks: "the folder is not synced after the exchange",
		edits: []edit{{"fileplace.go", `lockedfile.SyncDir(t.s.at.dir)`, `error(nil)`}},
		pkg:   ".", run: "^TestP2SyncedBeforeUsed$", quick: true},
	{id: "P2-sync-journal", promise: "P2", breaks: "the journal is written without an fsync of its file",
		edits: []edit{{"internal/lockedfile/write.go", `return f.Sync()`, `return nil`}},
		pkg:   ".", run: "^TestP2SyncedBeforeUsed$"},
	{id: "P2-sync-journal-folder", promise: "P2", breaks: "the folder is not synced before the request leaves",
		edits: []edit{{"fileplace.go", `if err == nil && syncDir {`, `if false && err == nil && syncDir {`}},
		pkg:   ".", run: "^TestP2SyncedBeforeUsed$"},
	{id: "P2-sync-no-folder", promise: "P2", breaks: "no folder is synced ever",
		edits: []edit{{"internal/lockedfile/write.go", `if err := d.Sync(); err != nil`, `if err := error(nil); err != nil`}},
		pkg:   "./internal/lockedfile", run: "^TestOrderOfSyncs$"},
	{id: "P2-event", promise: "P2", breaks: "the refresh is announced before it is stored",
		edits: []edit{{"attempt.go", `if err = x.try.commit(`, `x.g.emit(Refreshed{Generation: x.stored.Generation})
		if err = x.try.commit(`}},
		pkg: ".", run: "^TestP2DurableBeforeUsed$"},
	{id: "P2-dropped", promise: "P2", breaks: "the answer is dropped when it cannot be stored",
		edits: []edit{{"attempt.go", `if o, held := x.hold(next, err, time.Since(began) > holdFor); held {`, `if o, held := (outcome{err: asError(err)}), !began.IsZero(); held {`}},
		pkg:   ".", run: "^TestP2DurableBeforeUsed$", quick: true},
	{id: "P2-forgotten", promise: "P2", breaks: "an answer that no folder takes is not kept in memory either",
		edits: []edit{{"attempt.go", `x.g.held = &heldAnswer{`, `_ = &heldAnswer{`}},
		pkg:   ".", run: "^TestP2HeldInMemory$"},
	{id: "P2-cleared-early", promise: "P2", breaks: "the intent is cleared when the answer is there, before it is stored",
		edits: []edit{{"engine.go", `token, err := oauth.ParseToken(answer, x.dialect)`, `early := x.st
	early.Intent = nil
	s.note(ctx, h, &early)
	token, err := oauth.ParseToken(answer, x.dialect)`}},
		pkg: ".", run: "^TestP2IntentStaysOpen$"},
	{id: "P2-state-first", promise: "P2", breaks: "the state of the new generation is written before the token file",
		edits: []edit{{"fileplace.go", `if err := t.swap(cur, next); err != nil {`, `t.s.writeState(st, true)
	if err := t.swap(cur, next); err != nil {`}},
		pkg: "./crashtest", run: "^TestKill$/^refresh-with-rotation$",
		env: "EVERGRANT_POINT=TestKill/refresh-with-rotation/renameat2 answer>token #1"},
	{id: "P2-not-rolled-forward", promise: "P2", breaks: "an answer that was written and not put in its place is not looked for",
		edits: []edit{{"recover.go", `; f != nil || err != nil {`, `; false && f != nil || err != nil {`}},
		pkg:   ".", run: "^TestP2DurableBeforeUsed$"},

	// P3: never backwards.

	{id: "P3-cas", promise: "P3", breaks: "the memory store ignores the generation of a write",
		edits: []edit{{"memory.go", `have != generation {`, `have != generation && false {`}},
		pkg:   ".", run: "^TestP3NeverBackwards$", quick: true},
	{id: "P3-late", promise: "P3", breaks: "a late writer asks for the generation of the moment and overwrites it",
		edits: []edit{{"storeplace.go", `err := t.s.put(ctx, next, st, t.h.st.Generation)`, `newest, _ := t.s.p.read(ctx)
	err := t.s.put(ctx, next, st, newest.st.Generation)`}},
		pkg: ".", run: "^TestP3NeverBackwards$"},
	{id: "P3-login", promise: "P3", breaks: "a login that comes during a refresh is overwritten by its answer",
		edits: []edit{{"state.go", `	default:
		return newcomer`, `	default:
		return current`}},
		pkg: ".", run: "^TestP3NeverBackwards$"},
	{id: "P3-who-wins", promise: "P3", breaks: "an answer wins over a login that it meets",
		edits: []edit{{"decide.go", `newcomer: theirs,`, `newcomer: ours,`}},
		pkg:   ".", run: "^TestP3NeverBackwards$"},
	{id: "P3-newer", promise: "P3", breaks: "a late answer wins over a newer generation in the store",
		edits: []edit{{"decide.go", `case there.newer:`, `case there.newer && false:`}},
		pkg:   ".", run: "^TestLateWriterGoesNotBack$"},
	{id: "P3-exchange", promise: "P3", breaks: "what came out of the exchange is not looked at",
		edits: []edit{{"fileplace.go", `if bytes.Equal(out, t.expect) {`, `if true || bytes.Equal(out, t.expect) {`}},
		pkg:   ".", run: "^TestP3LoginBeforeTheExchange$"},
	{id: "P3-look", promise: "P3", breaks: "the file is neither looked at before the exchange nor what came out after it",
		edits: []edit{
			{"fileplace.go", `if err == nil && bytes.Equal(b, t.expect) {`, `if err == nil {`},
			{"fileplace.go", `if bytes.Equal(out, t.expect) {`, `if true || bytes.Equal(out, t.expect) {`},
		},
		pkg: ".", run: "^TestP3LoginInTheLastMoment$"},

	// P4: dead only by verdict.

	{id: "P4-404", promise: "P4", breaks: "a 4xx without a word of the provider ends the grant",
		edits: []edit{{"classify.go", `{400, 499, finding{Outcome: Misconfigured,`, `{400, 499, finding{Outcome: Dead,`}},
		pkg:   ".", run: "^TestP4DeadOnlyByVerdict$"},
	{id: "P4-5xx", promise: "P4", breaks: "a 5xx with an error in its body ends the grant",
		edits: []edit{
			{"classify.go", `a.Status >= 500 && f.Outcome == Dead`, `a.Status >= 600 && f.Outcome == Dead`},
			{"provider/match.go", `case r.Outcome == Dead && !speaksOfToken(status):`, `case false:`},
			{"provider/match.go", `case status >= 500:`, `case status >= 600:`},
		},
		pkg: ".", run: "^TestEveryFault$/^500-json$"},
	{id: "P4-503", promise: "P4", breaks: "an outage ends the grant",
		edits: []edit{{"classify.go", `{503, 503, finding{Outcome: Transient,`, `{503, 503, finding{Outcome: Dead,`}},
		pkg:   ".", run: "^TestP4DeadOnlyByVerdict$"},
	{id: "P4-unknown", promise: "P4", breaks: "an error code nobody knows ends the grant",
		edits: []edit{{"classify.go", `f.Outcome, f.Rule = Misconfigured, "error-unknown"`, `f.Outcome, f.Rule = Dead, "error-unknown"`}},
		pkg:   ".", run: "^TestEveryRule$/^error-unknown$"},
	{id: "P4-reread", promise: "P4", breaks: "the verdict is not read against what is in the file by now",
		edits: []edit{{"attempt.go", `now, err := x.s.read(ctx)`, `now, err := x.h, error(nil)`}},
		pkg:   ".", run: "^TestP4VerdictIsReadAgainst$"},
	{id: "P4-remembered", promise: "P4", breaks: "a dead refresh token is sent again",
		edits: []edit{{"attempt.go", `x.st.Dead, x.st.Intent, x.st.Doubt = v, nil, nil`, `x.st.Intent, x.st.Doubt = nil, nil`}},
		pkg:   ".", run: "^TestP4DeadOnlyByVerdict$", quick: true},
	{id: "P4-bound", promise: "P4", breaks: "a verdict binds every client id",
		edits: []edit{{"state.go", ` || v.ClientID != id.ClientID`, ``}},
		pkg:   ".", run: "^TestP4DeadOnlyByVerdict$"},

	// P5: in doubt is a state.

	{id: "P5-no-journal", promise: "P5", breaks: "a request is sent that is in no journal",
		edits: []edit{
			{"fileplace.go", `b, err := s.writeState(st, true)`, `b, err := []byte(nil), error(nil)`},
			{"fileplace.go", `func (t *fileTry) mark(p phase) error {`, `func (t *fileTry) mark(p phase) error {
	return nil`},
		},
		pkg: ".", run: "^TestP5JournalledBeforeSent$", quick: true},
	{id: "P5-no-intent", promise: "P5", breaks: "a request is sent although its intent could not be stored",
		edits: []edit{
			{"storeplace.go", `if err := s.p.store.Put(ctx, r, h.st.Generation); err != nil {`, `if s.p.store.Put(ctx, r, h.st.Generation); false {
		var err error`},
			{"storeplace.go", `return t.s.p.store.Put(ctx, t.r, t.r.Generation)`, `t.s.p.store.Put(ctx, t.r, t.r.Generation)
	return nil`},
		},
		pkg: ".", run: "^TestP2NoSendWithoutIntent$"},
	{id: "P5-phase", promise: "P5", breaks: "the journal says dialing while the request travels",
		edits: []edit{{"fileplace.go", `return lockedfile.Patch(t.s.at.side,`, `return nil
	return lockedfile.Patch(t.s.at.side,`}},
		pkg: ".", run: "^TestP5JournalledBeforeSent$"},
	{id: "P5-boot", promise: "P5", breaks: "a phase that was not synced is believed after a power cut",
		edits: []edit{{"recover.go", `in.Started.Boot == bootID()`, `(true || in.Started.Boot == bootID())`}},
		pkg:   ".", run: "^TestP5JournalledBeforeSent$"},
	{id: "P5-lost", promise: "P5", breaks: "a request that left and got no answer counts as not sent",
		edits: []edit{{"oauth/conn.go", `return g.raw.sent.Load() > 0`, `return false`}},
		pkg:   ".", run: "^TestP5InDoubtIsAState$/^no_second_send"},
	{id: "P5-busy", promise: "P5", breaks: "an answer that is no verdict ends an earlier doubt",
		edits: []edit{{"state.go", `func (st *state) clearIntent() { st.Intent = nil }`, `func (st *state) clearIntent() { st.Intent, st.Doubt = nil, nil }`}},
		pkg:   ".", run: "^TestP5BusyEndsNoDoubt$"},
	{id: "P5-deadline", promise: "P5", breaks: "a last try is made while the request in doubt may still arrive",
		edits: []edit{{"decide.go", `if !d.arrived(now) {`, `if false && !d.arrived(now) {`}},
		pkg:   ".", run: "^TestP5LastTryWaits$", quick: true},
	{id: "P5-half", promise: "P5", breaks: "a replay is made in the whole of a grace window",
		edits: []edit{{"decide.go", `age >= 0 && age < g/2`, `age >= 0 && age < g`}},
		pkg:   ".", run: "^TestP5HalfOfTheGrace$"},
	{id: "P5-wait", promise: "P5", breaks: "a call is served while a wait for the next replay inside a grace window is on",
		edits: []edit{{"decide.go", `(!d.heals || q.lost)`, `(true || !d.heals || q.lost)`}},
		pkg:   ".", run: "^TestGraceWindowIsUsed$"},
	{id: "P5-broke", promise: "P5", breaks: "a server error that may hide a rotation opens no grace window",
		edits: []edit{{"decide.go", `age = st.Last.windowAge(now)`, `return false`}},
		pkg:   ".", run: "^TestGraceWindowIsUsed$"},
	{id: "P5-quiet", promise: "P5", breaks: "after a replay the next refresh does not wait for the request in doubt",
		edits: []edit{{"state.go", `st.QuietUntil = later(st.QuietUntil, st.Doubt.Deadline)`, `_ = st.Doubt.Deadline`}},
		pkg:   ".", run: "^TestP5QuietAfterReplay$"},
	{id: "P5-set-back", promise: "P5", breaks: "a replaced refresh token that was set back counts as a login",
		edits: []edit{{"state.go", `case slices.Contains(st.Replaced, fp):`, `case false && slices.Contains(st.Replaced, fp):`}},
		pkg:   ".", run: "^TestP5InDoubtIsAState$/^a_token_set_back"},
	{id: "P5-rotates", promise: "P5", breaks: "a grant of which nothing is known is taken not to rotate",
		edits: []edit{{"decide.go", `return t.provider().Rotation().Never`, `return true || t.provider().Rotation().Never`}},
		pkg:   ".", run: "^TestP5InDoubtIsAState$/^no_second_send"},

	// P6: a valid token is served.

	{id: "P6-failed", promise: "P6", breaks: "a failed refresh gives an error instead of the token that is still good",
		edits: []edit{
			{"engine.go", `if q.kind != askToken || h.undecided() ||`, `if true || q.kind != askToken || h.undecided() ||`},
			{"source.go", `if s.hot.Load() == nil || !errors.As`, `if true || s.hot.Load() == nil || !errors.As`},
		},
		pkg: ".", run: "^TestP6ValidTokenIsServed$", quick: true},
	{id: "P6-minimum", promise: "P6", breaks: "a token that ends before the minimum asked for is served as if it did not",
		edits: []edit{{"decide.go", `return !e.At.IsZero() && e.At.Sub(now) >= q.min`, `return !e.At.IsZero()`}},
		pkg:   ".", run: "^TestP6ValidTokenIsServed$"},

	// P7: no secret leaks.

	{id: "P7-secret", promise: "P7", breaks: "a secret prints itself",
		edits: []edit{{"oauth/secret.go", `return redacted`, `return *s.p`}},
		pkg:   ".", run: "^TestP7NoSecretLeaks$"},
	{id: "P7-error", promise: "P7", breaks: "a token that the server quotes gets into the error",
		edits: []edit{{"attempt.go", `oauth.Scrub(token.ErrorDescription, x.secrets...)`, `token.ErrorDescription`}},
		pkg:   ".", run: "^TestP7QuotedToken$"},
	{id: "P7-event", promise: "P7", breaks: "a token is in an event",
		edits: []edit{{"attempt.go", `x.g.emit(Refreshed{Grant: x.g.place.id(),`, `x.g.emit(Refreshed{Grant: x.g.place.id() + next.RefreshToken(),`}},
		pkg:   ".", run: "^TestP7NoSecretLeaks$"},
	{id: "P7-state", promise: "P7", breaks: "the state holds tokens instead of fingerprints",
		edits: []edit{{"state.go", `return hex.EncodeToString(sum[:markBytes])`, `_ = sum
	return secret`}},
		pkg: ".", run: "^TestP7NoSecretLeaks$"},
	{id: "P7-transcript", promise: "P7", breaks: "the transcript shows the refresh token",
		edits: []edit{{"oauth/trace.go", `case "grant_type", "client_id",`, `case "refresh_token", "grant_type", "client_id",`}},
		pkg:   ".", run: "^TestP7NoSecretLeaks$"},
	{id: "P7-header", promise: "P7", breaks: "the transcript shows every header field",
		edits: []edit{{"oauth/trace.go", `shown := sized(len(v))`, `shown := v`}},
		pkg:   "./oauth", run: "^TestTranscript", quick: true},
	{id: "P7-member", promise: "P7", breaks: "the transcript shows the access token of the answer",
		edits: []edit{{"oauth/trace.go", `case "token_type", "expires_in",`, `case "access_token", "token_type", "expires_in",`}},
		pkg:   "./oauth", run: "^TestTranscript"},
	{id: "P7-side-mode", promise: "P7", breaks: "others can read the side file",
		edits: []edit{{"fileplace.go", `lockedfile.ReplaceWith(side, 0o600,`, `lockedfile.ReplaceWith(side, 0o644,`}},
		pkg:   ".", run: "^TestP7SideFilesArePrivate$"},
	{id: "P7-rescue-mode", promise: "P7", breaks: "others can read a rescued answer",
		edits: []edit{{"internal/lockedfile/write.go", `WriteDurable(path, b, 0o600)`, `WriteDurable(path, b, 0o644)`}},
		pkg:   ".", run: "^TestP7SideFilesArePrivate$"},

	// P8: files stay the user's.

	{id: "P8-edit", promise: "P8", breaks: "an edit that another program makes meanwhile is overwritten",
		edits: []edit{{"attempt.go", `cur.file = moved.now.file`, `_ = moved.now.file`}},
		pkg:   ".", run: "^TestP8FilesStayTheUsers$", quick: true},
	{id: "P8-mode", promise: "P8", breaks: "the file gets another mode",
		edits: []edit{{"internal/lockedfile/temp.go", `t.file.Chmod(t.target.Mode)`, `t.file.Chmod(0o600)`}},
		pkg:   ".", run: "^TestP8FilesStayTheUsers$"},
	{id: "P8-link", promise: "P8", breaks: "a symbolic link is not followed to its file",
		edits: []edit{{"fileplace.go", `lockedfile.Resolve(p.abs)`, `filepath.Abs(p.abs)`}},
		pkg:   ".", run: "^TestP8LinkStays$"},
	{id: "P8-layout", promise: "P8", breaks: "new members are not written like their neighbours",
		edits: []edit{{"internal/tokenfile/style.go", `s.before = d.text[c.members[n-2].end:last.nameStart]`, `s.before = []byte(", ")`}},
		pkg:   ".", run: "^TestP8NewMembersLookAlike$"},
	{id: "P8-line-ends", promise: "P8", breaks: "new lines end in LF, whatever the file has",
		edits: []edit{{"internal/tokenfile/style.go", `bytes.HasPrefix(ws[i:], []byte("\r\n"))`, `false`}},
		pkg:   "./internal/tokenfile", run: "^Test(Edit|Merge)"},
	{id: "P8-bom", promise: "P8", breaks: "the byte order mark is dropped",
		edits: []edit{{"internal/tokenfile/encoding.go", `if e.bom == nil {`, `if true || e.bom == nil {`}},
		pkg:   "./internal/tokenfile", run: "^Test(Edit|Merge)"},
	{id: "P8-stale-time", promise: "P8", breaks: "a time that the answer does not bring stays as it was",
		edits: []edit{{"internal/tokenfile/merge.go", `case m.answer.Lifetime <= 0:`, `case true || m.answer.Lifetime <= 0:`}},
		pkg:   "./internal/tokenfile", run: "^TestMerge"},

	// What a login brings, and grants that are asked for anew.

	{id: "P2-login-recover", promise: "P2", breaks: "a login does not put the answer of a killed refresh in its place first",
		edits: []edit{{"keep.go", `if _, err := k.engine.recover(ctx, s, &cur, false); err != nil {`, `if err := error(nil); err != nil {`}},
		pkg:   ".", run: "^TestLoginAfterAKilledRefresh$"},
	{id: "P2-login-misplaced", promise: "P2", breaks: "the key of a bound grant is written where it is not looked for",
		edits: []edit{
			{"binding.go", `if !bound {`, `if true || !bound {`},
			{"keep.go", ` && proofKey(k.file) == proofKey(f)
}`, `
}`},
		},
		pkg: ".", run: "^TestLoginKeepsItsKeyInAnyLayout$"},
	{id: "P3-login-client", promise: "P3", breaks: "a login is merged into another client's document",
		edits: []edit{{"keep.go", `if k.another(cur) {`, `if false && k.another(cur) {`}},
		pkg:   ".", run: "^TestKeepFileOfAnotherClient$", quick: true},
	{id: "P3-login-identity", promise: "P3", breaks: "a login that was cut off goes out for the client of before",
		edits: []edit{{"state.go", `if st.Intent != nil && st.Intent.Grant.TokenURL != "" {`, `if false {`}},
		pkg:   ".", run: "^TestCutLoginOfAnotherClient$"},
	{id: "P3-login-killed", promise: "P3", breaks: "a login that was killed goes out for the client of before",
		edits: []edit{{"state.go", `if st.Intent != nil && st.Intent.Grant.TokenURL != "" {`, `if false {`}},
		pkg:   "./cmd/evergrant", run: "^TestKilledReconnectOfAnotherClient$"},
	{id: "P4-login-kept", promise: "P4", breaks: "a login without a refresh token revives the dead one, and ends every doubt",
		edits: []edit{{"state.go", `if kept && refresh != "" {`, `if false {`}},
		pkg:   ".", run: "^TestLoginWithoutRefreshToken"},
	{id: "P5-login-intent", promise: "P5", breaks: "the intent of a login, which names no refresh token, becomes a doubt",
		edits: []edit{{"state.go", `return in.Refresh != "" && in.Grant.Grant.Type == ""`, `return in.Grant.Grant.Type == ""`}},
		pkg:   ".", run: "^TestLoginIntoAFileCutByAPowerCut$", quick: true},
	{id: "P5-asked", promise: "P5", breaks: "a grant that is asked for anew is left in doubt",
		edits: []edit{{"state.go", `return in.Refresh != "" && in.Grant.Grant.Type == ""`, `return in.Refresh != ""`}},
		pkg:   ".", run: "^TestAskedGrantWithARefreshTokenIsInNoDoubt$"},
	{id: "P5-nonce", promise: "P5", breaks: "an answer that only asks for a nonce counts as a failure",
		edits: []edit{{"attempt.go", `if !x.q.nonced {`, `if false && !x.q.nonced {`}},
		pkg:   ".", run: "^TestRFC9449_2NonceOfALastTry$"},
	{id: "P5-nonce-unlearned", promise: "P5", breaks: "proofs are made without the nonce that was asked for",
		edits: []edit{{"engine.go", `proofs.Learn(req.URL, answer.Header)`, `_ = answer.Header`}},
		pkg:   ".", run: "^TestRFC9449_2NonceAtTheServer$"},
	{id: "P5-proof", promise: "P5", breaks: "a bound refresh token is sent without its proof",
		edits: []edit{{"binding.go", `return p, p.Attach(req, time.Now())`, `return p, nil`}},
		pkg:   ".", run: "^TestRFC9449_1_4Refresh$"},
	{id: "P7-unbound", promise: "P7", breaks: "a plain token is handed out where a bound one was asked for",
		edits: []edit{{"binding.go", `return lostBinding()`, `return nil`}},
		pkg:   ".", run: "^TestRFC9449_3TokenTypeBearer$"},
	{id: "P7-reference", promise: "P7", breaks: "a reference in another user's journal is followed",
		edits: []edit{{"state.go", `refs = append(refs, st.Intent.Grant.references()...)`, `_ = st.Intent`}},
		pkg:   ".", run: "^TestReferenceInAnothersJournalIsNotFollowed$"},
	{id: "P7-elsewhere", promise: "P7", breaks: "a reference is followed that came with files from somewhere else",
		edits: []edit{{"fileplace.go", `!mine || id != st.Self {`, `!mine {`}},
		pkg:   ".", run: "^TestReferenceIsFollowedWhereItWasSaid$", quick: true},
	{id: "P7-other-secret", promise: "P7", breaks: "the secret of the client of before goes to the server of the new one",
		edits: []edit{{"engine.go", `if !c.fit(t.id) {`, `if false && !c.fit(t.id) {`}},
		pkg:   ".", run: "^TestSecretIsTheNewClients$"},
	{id: "P8-login-foreign", promise: "P8", breaks: "a login replaces a document of which no client is known",
		edits: []edit{{"keep.go", `case differ(cfg.ClientID, client),`, `case cfg.ClientID != client,`}},
		pkg:   ".", run: "^TestLoginIntoAForeignFileKeepsItsMembers$"},

	// wire: the promises of package oauth.

	{id: "wire-redirect", promise: "wire", breaks: "a redirect is followed",
		edits: []edit{{"oauth/send.go", `	t.answer(a)
`, `	t.answer(a)
	if a.Status/100 == 3 {
		next := *r
		next.URL = a.Header.Get("Location")
		return c.Send(ctx, &next, sending)
	}
`}},
		pkg: "./oauth", run: "^TestRedirects$", quick: true},
	{id: "wire-twice", promise: "wire", breaks: "a request that failed is sent a second time",
		edits: []edit{{"oauth/send.go", `a, err := exchange(g, req)`, `a, err := exchange(g, req)
	if err != nil {
		if again, openErr := c.open(ctx, req.URL, t); openErr == nil {
			again.allow = late
			req, _ = c.prepare(r)
			a, err = exchange(again, req)
		}
	}`}},
		pkg: "./oauth", run: "^TestFaults$", quick: true},
	{id: "wire-unbounded", promise: "wire", breaks: "an answer may be of sixteen times the size",
		edits: []edit{{"oauth/answer.go", `= 512 << 10`, `= 16 << 20`}},
		pkg:   "./oauth", run: "^TestBombs$"},
	{id: "wire-http", promise: "wire", breaks: "plain http goes to any host",
		edits: []edit{{"oauth/dial.go", `case u.Scheme == "http" && !loopback(host):`, `case false && u.Scheme == "http" && !loopback(host):`}},
		pkg:   "./oauth", run: "^Test(PlainHTTPToAnotherHost|CheckEndpoint)$"},
	{id: "wire-certificate", promise: "wire", breaks: "certificates are not verified",
		edits: []edit{{"oauth/dial.go", `[]string{"http/1.1"},`, `[]string{"http/1.1"}, InsecureSkipVerify: true,`}},
		pkg:   ".", run: "^TestEveryRule$/^unsent-certificate$"},
	{id: "wire-order", promise: "wire", breaks: "the request leaves before the caller could journal it",
		edits: []edit{{"oauth/conn.go", `if g.sending != nil {`, `if false && g.sending != nil {`}},
		pkg:   "./oauth", run: "^TestSending"},
	{id: "wire-deadline", promise: "wire", breaks: "a server can hold the client for ever",
		edits: []edit{{"oauth/send.go", `return c.Timeout
`, `return 1000 * c.Timeout
`}},
		pkg: "./oauth", run: "^TestDeadline$"},
}
