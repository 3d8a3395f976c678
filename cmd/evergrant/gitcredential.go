package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
)

// maxGitInput bounds what is read from git; its own lines are short.
const maxGitInput = 1 << 20

func gitCredentialCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var h gitHelper
	cmd := &cobra.Command{
		Use:   "git-credential TARGET get|store|erase",
		Short: "Give git the access token (a credential helper)",
		Long: `Answer git in its credential protocol, on stdin and stdout. Git adds the action
itself:

  get    prints the token for a host that is named with --host, over https, or on
         this machine. Git 2.46 and later is told to send it as a Bearer token, unless
         the server asks for Basic only; then, and for older ones, it is the password
  erase  the server refused the token: it is renewed, once however often git says so
  store  does nothing: the token is kept where it is

Nothing is printed for other hosts, so that git asks its next helper.

` + exitCodes,
		Example: "  git config --global credential.https://git.example.com.helper \\\n" +
			"    '!evergrant git-credential ~/token.json --host git.example.com'",
		Args: takes(2, 2, "evergrant git-credential TARGET --host HOST get"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(h.hosts) == 0 {
				return usageError{errors.New("--host is missing"), "name the host the token is for, as git does: git.example.com, or git.example.com:8443"}
			}
			if i := slices.IndexFunc(h.hosts, func(host string) bool { return strings.ContainsAny(host, "/ ") || host == "" }); i >= 0 {
				return usageError{fmt.Errorf("--host %q is no host", h.hosts[i]), "give the host alone, without https:// and without a path: git.example.com, or git.example.com:8443"}
			}
			h.userGiven = cmd.Flags().Changed("username")
			q, err := readGit(os.Stdin)
			if err != nil || !h.means(q) {
				return err
			}
			src, err := t.open(cmd.Context(), args[0], nil)
			if err != nil {
				return err
			}
			defer src.Close()
			switch args[1] {
			case "get":
				return h.get(context.WithoutCancel(cmd.Context()), u, src, q)
			case "erase":
				return h.erase(context.WithoutCancel(cmd.Context()), src, q)
			}
			return nil // store; and others are to be ignored (gitcredentials(7), CUSTOM HELPERS)
		},
	}
	t.identify(cmd)
	cmd.Flags().Var((*list)(&h.hosts), "host", "`host` the token is for, with its port unless that is the usual one; repeatable")
	cmd.Flags().StringVar(&h.user, "username", gitUser, "user `name` to give with the token as the password, unless the URL has one")
	return cmd
}

// gitHelper is what the flags say.
type gitHelper struct {
	hosts     []string
	user      string
	userGiven bool
}

// gitAsk is what git says: the last value of each name, and the lists, whose
// names end with [].
type gitAsk struct {
	one  map[string]string
	many map[string][]string
}

// readGit reads lines up to an empty one or the end.
func readGit(r io.Reader) (gitAsk, error) {
	q := gitAsk{map[string]string{}, map[string][]string{}}
	s := bufio.NewScanner(io.LimitReader(r, maxGitInput))
	s.Buffer(nil, maxGitInput)
	for s.Scan() && s.Text() != "" {
		name, value, ok := strings.Cut(s.Text(), "=")
		if !ok {
			return q, usageError{errors.New("a line on stdin is not name=value"), "let git run this command; see gitcredentials(7)"}
		}
		list, isList := strings.CutSuffix(name, "[]")
		switch {
		case !isList:
			q.one[name] = value
		case value == "":
			delete(q.many, list) // starts the list anew
		default:
			q.many[list] = append(q.many[list], value)
		}
	}
	if err := s.Err(); err != nil {
		return q, fmt.Errorf("reading what git asks: %w", err)
	}
	return q, nil
}

// means reports whether the token is for what git asks about.
func (h *gitHelper) means(q gitAsk) bool {
	host, protocol := q.one["host"], q.one["protocol"]
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	if protocol != "https" && !(protocol == "http" && loopbackName(strings.Trim(name, "[]"))) {
		return false
	}
	usual := map[string]string{"https": ":443", "http": ":80"}[protocol]
	return slices.ContainsFunc(h.hosts, func(mine string) bool {
		return host != "" && strings.EqualFold(strings.TrimSuffix(mine, usual), strings.TrimSuffix(host, usual))
	})
}

func (h *gitHelper) get(ctx context.Context, u *ui, src *evergrant.Source, q gitAsk) error {
	t, err := src.Token(ctx)
	if err != nil {
		return err
	}
	if err := bearable(t); err != nil {
		return err
	}
	var text string
	if q.wantsBearer() {
		text, err = gitText([][2]string{
			{"capability[]", "authtype"}, {"authtype", "Bearer"}, {"credential", t.AccessToken.Reveal()},
			{"ephemeral", "1"}, {"password_expiry_utc", unixTime(t.Expiry)}, // no other helper should keep it
		})
	} else {
		user := h.user
		if inURL := q.one["username"]; inURL != "" && !h.userGiven {
			user = inURL
		}
		text, err = gitLines(t, user)
	}
	u.printf("%s", text)
	return err
}

// wantsBearer reports whether git can send another scheme than Basic, and the
// server takes it as far as it said (git sends its WWW-Authenticate fields).
func (q gitAsk) wantsBearer() bool {
	if !slices.Contains(q.many["capability"], "authtype") {
		return false
	}
	challenges := q.many["wwwauth"]
	return len(challenges) == 0 || slices.ContainsFunc(challenges, func(c string) bool {
		scheme, _, _ := strings.Cut(c, " ")
		return strings.EqualFold(scheme, "Bearer")
	})
}

// erase reports the token that the server refused. What git names may be
// another helper's, or one that was replaced since: then the token at hand
// stays, as long as it has not ended.
func (h *gitHelper) erase(ctx context.Context, src *evergrant.Source, q gitAsk) error {
	refused := cmp.Or(q.one["credential"], q.one["password"])
	if refused == "" {
		return nil
	}
	_, err := src.Rejected(ctx, &evergrant.Token{AccessToken: evergrant.NewSecret(refused)})
	return err
}
