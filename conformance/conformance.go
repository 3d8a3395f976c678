// Package conformance judges programs that refresh OAuth 2.0 tokens in a JSON
// token file, whoever wrote them and in whatever language.
//
//	card, err := conformance.Runner{Command: []string{"./refresh.sh", "{file}", "{token_url}", "{client_id}"}}.Run(ctx, conformance.Cases())
//	card.WriteText(os.Stdout)
//
// Each case starts a simulated authorization server (package idptest), writes a
// token file into a temporary folder, runs the command, often twice or many
// times at once, and judges by the server's ledger and the file alone. What the
// program prints is searched for tokens and read for nothing else.
//
// # What the command must do
//
// Refresh the token in the file each time it is run, whether or not the access
// token is still good; write the file back; exit with 0 if the file holds a new
// access token that the server accepts, with anything else if not. The file is
// one JSON object with the members access_token, refresh_token, token_type,
// expires_in and scope. The client is public: it has an id and no secret.
//
// # Limits
//
// Plain http on the loopback interface. Programs that refresh only a token that
// is about to expire fail most cases. Some cases need Linux, or root, and are
// skipped elsewhere; a scorecard names each of them.
package conformance

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/evergrant/evergrant/idptest"
)

// A Case is one situation a program is put in.
type Case struct {
	Name  string // unique: the group, a slash and a word or two, such as "shapes/exp-string"
	Group string // the part before the slash
	Why   string // one line: what goes wrong in the world where a program fails it

	habits idptest.Habits
	play   func(*trial)
}

// Cases are all cases, in the order of their groups: basic, shapes, refusals,
// lost, races, crash, write, format, hostile, redirects, secrets.
func Cases() []Case {
	all := slices.Concat(basicCases(), shapeCases(), refusalCases(), lostCases(), raceCases(), crashCases(), writeCases(),
		formatCases(), hostileCases(), redirectCases(), secretCases())
	for i := range all {
		all[i].Name = all[i].Group + "/" + all[i].Name
	}
	return all
}

// Select is the cases whose name matches the regular expression. No match is an
// error.
func Select(pattern string) ([]Case, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("reading the pattern: %w", err)
	}
	chosen := slices.DeleteFunc(Cases(), func(c Case) bool { return !re.MatchString(c.Name) })
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no case matches %q", pattern)
	}
	return chosen, nil
}

// rotating is a server that replaces the refresh token at each refresh and ends
// the grant when a spent one comes back, as many do without saying so.
var rotating = idptest.Habits{Rotation: true}
