package model

// Mutation is a rule of the protocol that is left out, to see that the model
// notices.
type Mutation uint8

const (
	whole Mutation = iota
	TheLock
	TheReread
	TheIntent
	ThePhase
	TheBoot
	TheJudgement
	TheStoreFirst
	TheDirectorySync
	TheFileSync
	TheSettleSync
	TheDeadline
	TheHash
	TheCheck
	TheRescue
	TheReplaced
	TheQuiet
	TheRollForward
	TheUndecided
	TheReplayQuiet
	TheDue
	TheWindow
	TheNewBase
	EveryName
	mutations
)

var mutationTexts = [...]string{
	whole:            "the protocol as it is",
	TheLock:          "no lock",
	TheReread:        "nothing is read again under the lock",
	TheIntent:        "no intent is written",
	ThePhase:         "the phase never turns to sending",
	TheBoot:          "an intent that was dialing counts as not sent after a reboot too",
	TheJudgement:     "leftovers are swept before they are judged",
	TheStoreFirst:    "the intent is cleared before the answer is stored",
	TheDirectorySync: "the directory is not synced",
	TheFileSync:      "the answer is not synced",
	TheSettleSync:    "recovery clears the intent without syncing the token file",
	TheDeadline:      "a last try does not wait until the first request can no longer arrive",
	TheHash:          "the temporary file's name does not carry a hash of its content",
	TheCheck:         "what came out of the exchange is not looked at",
	TheRescue:        "an answer that cannot be written is dropped",
	TheReplaced:      "a token that was set back is sent",
	TheQuiet:         "a refresh may follow a replay at once",
	TheRollForward:   "an answer that was written and not put in its place is not rolled forward",
	TheReplayQuiet:   "recovery of a replay forgets that the first request may still arrive",
	TheDue:           "what came out of an exchange is not looked at after a crash",
	TheWindow:        "a replay is made at once although the grace window is shorter than a request may travel",
	TheNewBase:       "a login that is put back is exchanged out again after a second crash",
	EveryName:        "of several temporary files of one name only the first is looked at",
	TheUndecided:     "readers take a new token while its intent is open",
}

func (m Mutation) String() string { return mutationTexts[m] }

// Mutations lists every rule that can be left out.
func Mutations() []Mutation {
	var all []Mutation
	for m := whole + 1; m < mutations; m++ {
		all = append(all, m)
	}
	return all
}

func (m *Model) without(rule Mutation) bool { return m.Without == rule }
