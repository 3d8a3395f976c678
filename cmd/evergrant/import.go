package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/internal/foreign"
)

// importing is one run of import.
type importing struct {
	*target
	keeping
	format, account string
	from            string // path of the credential file; - is standard input
	force           bool
}

func importCommand(u *ui) *cobra.Command {
	i := &importing{target: &target{u: u}}
	var list bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take over a grant from another tool's credential file",
		Long: `Take over a grant from the credential file of another tool: token answers as most
scripts keep them, golang x/oauth2, Google's application default credentials and
google-auth, MSAL caches, the Salesforce CLI, rclone, kubelogin, mcp-remote,
Claude Code, AWS. The format is recognised; - reads standard input. Nothing is
sent, and FILE is not changed.

Without --file and --name the grants in FILE are listed and nothing is kept. The
client, the provider and the token endpoint come from FILE where it says them,
else from the flags.

Two tools that refresh one grant end it where the provider rotates refresh
tokens: let only one of them go on.

` + exitCodes,
		Example: `  evergrant import --list                                               the formats, and where the files are
  evergrant import ~/.config/rclone/rclone.conf                         what is in it
  evergrant import ~/.config/rclone/rclone.conf --account gdrive --name work-drive
  sf org auth show-sfdx-auth-url -o ORG --json | evergrant import - --name work-sf`,
		Args: func(cmd *cobra.Command, args []string) error {
			if list {
				return takes(0, 0, "evergrant import --list")(cmd, args)
			}
			return takes(1, 1, "evergrant import FILE --name NAME")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if list {
				return listFormats(u)
			}
			if i.file != "" && i.name != "" {
				return usageError{errors.New("--file and --name are two places for one grant"), "give one of them"}
			}
			return i.run(cmd.Context(), args[0])
		},
	}
	i.identify(cmd)
	cmd.Flags().BoolVar(&list, "list", false, "list the formats, their usual places, and which can be written by export")
	cmd.Flags().StringVar(&i.format, "format", "", "`format` of FILE (default: recognised)")
	cmd.Flags().StringVar(&i.account, "account", "", "`label` of the grant, where FILE holds several")
	cmd.Flags().StringVar(&i.file, "file", "", "keep it as this token `file`")
	cmd.Flags().StringVar(&i.name, "name", "", "keep it in the store under this `name`")
	cmd.Flags().BoolVar(&i.force, "force", false, "put it over a token file that is there already")
	cmd.RegisterFlagCompletionFunc("format", completeFormat(func(f foreign.Format) bool { return f.Reads }))
	return cmd
}

func (i *importing) run(ctx context.Context, path string) error {
	i.from = path
	grants, err := i.read(path)
	if err != nil {
		return err
	}
	if i.file == "" && i.name == "" {
		return listGrants(i.u, grants)
	}
	g, err := foreign.Choose(grants, i.account)
	if err != nil {
		return usageError{err, hintOf(err)}
	}
	if err := i.free(ctx, path); err != nil {
		return err
	}
	cfg, err := i.configFor(g, i.remembered(ctx))
	if err != nil {
		return err
	}
	document, err := i.document(g)
	if err != nil {
		return usageError{err, hintOf(err)}
	}
	if err := i.keep(ctx, i.u, document, cfg); err != nil {
		return err
	}
	return i.report(g, cfg)
}

// mostImport is more than any credential file has; what is longer is refused.
const mostImport = 17 << 20

// readMost reads a file as far as it could be one with credentials.
func readMost(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("it is a folder, not a file")
	}
	return io.ReadAll(io.LimitReader(f, mostImport))
}

// read reads the credential file; - is standard input.
func (i *importing) read(path string) ([]foreign.Grant, error) {
	data, name, err := []byte(nil), path, error(nil)
	if path == "-" {
		name = ""
		data, err = io.ReadAll(io.LimitReader(os.Stdin, mostImport))
	} else {
		data, err = readMost(path)
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("reading %s: %w", path, err), "`evergrant import --list` shows where the files usually are"}
	}
	folder := filepath.Dir(path)
	grants, err := foreign.Read(data, foreign.Options{Format: i.format, Name: name, Beside: func(base string) ([]byte, error) {
		return readMost(filepath.Join(folder, filepath.Base(base)))
	}})
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", path, err), hintOf(err)}
	}
	return grants, nil
}

// hintOf is the next step that an error knows.
func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return "see --help"
}

// free refuses to write over what is there. The file that is imported is
// another tool's: it is not written, --force or not.
func (i *importing) free(ctx context.Context, path string) error {
	if i.name != "" {
		if err := i.check(ctx, i.u); err != nil || i.force || !i.exists(ctx, i.u) {
			return err
		}
		return usageError{fmt.Errorf("there is a kept grant called %s already", i.name), "choose another --name, or add --force to put this one in its place"}
	}
	there, err := os.Stat(i.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if from, ferr := os.Stat(path); err == nil && ferr == nil && os.SameFile(there, from) {
		return usageError{errors.New("--file names the file that is imported"), "a token file needs no import: `evergrant refresh " + path + "` works on it as it is; else name another file"}
	}
	if !i.force {
		return usageError{fmt.Errorf("%s is there already", i.file), "name another file, or add --force to put the grant in place of the one there"}
	}
	return nil
}

// remembered is what a token file's side file says of its grant: evergrant's own
// files are taken over with it. What cannot be used is left out, and said.
func (i *importing) remembered(ctx context.Context) evergrant.Status {
	dir, name := filepath.Split(i.from)
	if i.from == "-" || !isThere(filepath.Join(dir, "."+name+".evergrant")) {
		return evergrant.Status{}
	}
	s, err := statusAt(ctx, i.from)
	if err != nil {
		i.u.warn("what is remembered beside "+i.from+" cannot be used: "+err.Error(), "say it with --provider or --token-url, --client-id and --client-secret")
		return evergrant.Status{}
	}
	strange := false
	for _, ref := range []*string{&s.SecretRef, &s.KeyRef, &s.KeyPasswordRef, &s.CertRef} {
		if strings.HasPrefix(*ref, evergrant.Elsewhere) {
			*ref, strange = "", true
		}
	}
	if strange {
		i.u.warn("how the client authenticates is remembered beside "+i.from+", and not followed: the side file was copied, unpacked or restored, or is another user's", "if you trust it, say it with --client-secret or --key")
	}
	if s.GrantType != "" {
		i.u.warn(i.from+" is renewed by asking again ("+s.GrantType+"), and how is not taken over", "set it up with `evergrant login --grant "+s.GrantType+"`")
	}
	return s
}

// statusAt is what a token file and its side file say.
func statusAt(ctx context.Context, path string) (evergrant.Status, error) {
	src, err := evergrant.OpenFile(path, evergrant.Config{ResolveSecret: resolveSecret})
	if err != nil {
		return evergrant.Status{}, err
	}
	defer src.Close()
	return src.Status(ctx)
}

// asRemembered fills in what is remembered of the grant, unless a flag leads to
// another server or client.
func asRemembered(cfg *evergrant.Config, known evergrant.Status) {
	if cfg.Provider != "" && cfg.Provider != known.Provider || cfg.TokenURL != "" && cfg.TokenURL != known.TokenURL {
		return
	}
	cfg.Provider, cfg.TokenURL, cfg.Issuer = known.Provider, known.TokenURL, cmp.Or(cfg.Issuer, known.Issuer)
	if len(cfg.Params) == 0 {
		cfg.Params = known.Params
	}
	if len(cfg.Vars) == 0 {
		cfg.Vars = known.Vars
	}
	if cfg.ClientID != "" && cfg.ClientID != known.ClientID {
		return
	}
	cfg.ClientID, cfg.AuthMethod = known.ClientID, cmp.Or(cfg.AuthMethod, known.AuthMethod)
	if cfg.SecretRef == "" && cfg.KeyRef == "" {
		cfg.SecretRef, cfg.KeyRef, cfg.KeyPasswordRef, cfg.KeyAlg, cfg.CertRef = known.SecretRef, known.KeyRef, known.KeyPasswordRef, known.KeyAlg, known.CertRef
	}
}

// configFor is what the flags say of the grant, and else the file and what is
// remembered of it.
func (i *importing) configFor(g foreign.Grant, known evergrant.Status) (evergrant.Config, error) {
	cfg, err := i.config()
	if err != nil {
		return cfg, err
	}
	asRemembered(&cfg, known)
	if cfg.Provider == "" { // an endpoint of one's own is of the same dialect
		cfg.Provider, cfg.TokenURL = g.Provider, cmp.Or(cfg.TokenURL, g.TokenURL)
	}
	cfg.ClientID = cmp.Or(cfg.ClientID, g.ClientID)
	if err := varsOf(cfg.Provider, cfg); err != nil {
		return cfg, err
	}
	if cfg.SecretRef == "" && i.refersTo(g) {
		path, err := absolute(i.from)
		if err != nil {
			return cfg, err
		}
		cfg.SecretRef = "json:" + path + "#" + g.SecretAt
	}
	return cfg, nil
}

// refersTo: the client's secret is read from the file that was imported, where
// its tool keeps it; nothing encrypts a token file.
func (i *importing) refersTo(g foreign.Grant) bool {
	return i.name == "" && i.from != "-" && g.SecretAt != "" && !g.ClientSecret.IsZero()
}

// document is what is kept. A client secret goes into the store, which
// encrypts, and into a file only in Google's own layout, whose readers look for
// it there.
func (i *importing) document(g foreign.Grant) ([]byte, error) {
	switch {
	case g.ClientSecret.IsZero() || i.secret != "":
		return g.Document()
	case i.name != "":
		return g.Sealed()
	case i.refersTo(g):
		i.u.say("the client secret stays in %s, and is read from there", i.from)
		return g.Document()
	case g.GoogleLayout():
		return i.googleDocument(g)
	}
	i.u.warn("the client secret in the file is not kept: a token file is no place for it", "give it by reference at the first use: --client-secret env:NAME, file:PATH or cmd:PROGRAM ARG…")
	return g.Document()
}

// googleDocument is in one of the two layouts that are recognised as Google's:
// the one with an access token, or the one that gets it with the first refresh.
func (i *importing) googleDocument(g foreign.Grant) ([]byte, error) {
	name := "google-auth"
	if g.AccessToken.IsZero() {
		name = "google-authorized-user"
	}
	f, err := foreign.Named(name)
	if err != nil {
		return nil, err
	}
	document, err := foreign.Write(f, g)
	if err == nil {
		i.u.warn("the client secret stands in the token file, as Google's libraries keep it", "with --client-secret and a reference such as env:NAME it is left out; --name keeps it encrypted")
	}
	return document, err
}

// imported is the result of import as JSON.
type imported struct {
	Label    string `json:"label"`
	File     string `json:"file,omitempty"`
	Name     string `json:"name,omitempty"`
	Account  string `json:"account,omitempty"`
	Provider string `json:"provider,omitempty"`
	TokenURL string `json:"token_url,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	Note     string `json:"note,omitempty"`
}

func (i *importing) report(g foreign.Grant, cfg evergrant.Config) error {
	kept := cmp.Or(i.name, i.file)
	i.u.done = "the grant was imported and is kept as " + kept
	if g.Note != "" {
		i.u.warn(g.Note, "")
	}
	if !g.RefreshToken.IsZero() {
		i.u.warn("the tool it comes from still has the same refresh token: where the provider rotates, the one that refreshes second ends the grant", "let only evergrant refresh it from now on, and have the other tool ask for the token: `evergrant token "+kept+"`")
	}
	if i.u.json {
		return i.u.value(imported{g.Label, i.file, i.name, g.Account, cfg.Provider, cfg.TokenURL, cfg.ClientID, g.Note})
	}
	if i.u.quiet {
		return nil
	}
	i.u.printf("%s: imported %s\n", printable(kept), printable(g.Label))
	for _, row := range [][2]string{{"provider", cfg.Provider}, {"token endpoint", cfg.TokenURL}, {"client id", cfg.ClientID}, {"scope", g.Scope}} {
		if row[1] != "" {
			i.u.printf("  %-14s  %s\n", row[0], printable(row[1]))
		}
	}
	return nil
}

// grantRow is a grant in a credential file as JSON. It holds no secret.
type grantRow struct {
	Label           string    `json:"label"`
	Account         string    `json:"account,omitempty"`
	Provider        string    `json:"provider,omitempty"`
	TokenURL        string    `json:"token_url,omitempty"`
	ClientID        string    `json:"client_id,omitempty"`
	Scope           string    `json:"scope,omitempty"`
	ExpiresAt       time.Time `json:"expires_at,omitzero"`
	HasRefreshToken bool      `json:"has_refresh_token"`
	Note            string    `json:"note,omitempty"`
}

// listGrants shows what a credential file holds.
func listGrants(u *ui, grants []foreign.Grant) error {
	var rows []grantRow
	for _, g := range grants {
		rows = append(rows, grantRow{g.Label, g.Account, g.Provider, g.TokenURL, g.ClientID, g.Scope, g.Expiry, !g.RefreshToken.IsZero(), g.Note})
	}
	if u.json {
		return u.value(rows)
	}
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "LABEL\tPROVIDER\tCLIENT ID\tACCESS TOKEN UNTIL\tREFRESH TOKEN")
	for _, r := range rows {
		refresh, expires := "no", "-"
		if r.HasRefreshToken {
			refresh = "yes"
		}
		if !r.ExpiresAt.IsZero() {
			expires = local(r.ExpiresAt)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", printable(r.Label), orDash(r.Provider), printable(orDash(r.ClientID)), expires, refresh)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Note != "" {
			u.say("%s: %s", r.Label, r.Note)
		}
	}
	u.say("nothing was kept: add --name NAME or --file token.json, and --account LABEL where there are several")
	return nil
}

// listFormats is import --list.
func listFormats(u *ui) error {
	formats := foreign.Formats()
	if u.json {
		return u.value(formats)
	}
	w := tabwriter.NewWriter(u.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "FORMAT\tIMPORT\tEXPORT\tWHAT\tUSUAL PLACE")
	for _, f := range formats {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.Name, yesNo(f.Reads), yesNo(f.Writes), f.Title, orDash(strings.Join(f.Files, " ")))
	}
	return w.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// completeFormat completes the formats that a command can use.
func completeFormat(usable func(foreign.Format) bool) cobra.CompletionFunc {
	var names []string
	for _, f := range foreign.Formats() {
		if usable(f) {
			names = append(names, cobra.CompletionWithDesc(f.Name, f.Title))
		}
	}
	return cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)
}
