package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/jose"
	"github.com/evergrant/evergrant/oauth"
)

func userinfoCommand(u *ui) *cobra.Command {
	t := &target{u: u}
	var at string
	var check bool
	cmd := &cobra.Command{
		Use:   "userinfo TARGET",
		Short: "Ask the provider who the person behind a grant is",
		Long: `Ask the provider who the person behind a grant is (OpenID Connect Core §5.3), with
a valid access token; for Salesforce by the identity URL where there is no other
endpoint. TARGET is the path of a token file or the name of a kept grant.

With --check-signature the identity URL that Salesforce gave is first checked
against its signature, for which the client secret is needed.

` + exitCodes,
		Example: "  evergrant userinfo work-sf\n  evergrant userinfo token.json --json | jq -r .email",
		Args:    oneFile("userinfo"),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := t.open(cmd.Context(), args[0], endpoint(evergrant.Endpoints{Userinfo: at}))
			if err != nil {
				return err
			}
			defer src.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), t.timeout)
			defer cancel()
			if check {
				if err := t.checkIdentity(ctx, src, isName(args[0])); err != nil {
					return err
				}
			}
			done := u.working("asking about " + args[0])
			info, err := src.Userinfo(ctx)
			done()
			if err != nil {
				return err
			}
			return printUserinfo(u, info)
		},
	}
	t.identify(cmd)
	cmd.Flags().BoolVar(&check, "check-signature", false, "check Salesforce's signature of the identity URL with the client secret first")
	cmd.Flags().StringVar(&at, "userinfo-url", "", "`URL` for userinfo, where neither catalog nor discovery has it")
	return cmd
}

func printUserinfo(u *ui, info *oauth.Userinfo) error {
	members := info.Members
	if !info.Signed.IsZero() {
		claims, err := jose.Inspect(info.Signed)
		if err != nil {
			return &evergrant.Error{Class: evergrant.ErrMisconfigured, Rule: "userinfo-unreadable", Says: "the provider's answer is encrypted, or no JWT", Do: "register the client for plain or signed userinfo", Err: err}
		}
		if members, err = membersIn(claims.Claims); err != nil {
			return err
		}
		u.warn("the answer is a signed JWT; its signature was not checked", "take it for what the connection to the provider is worth")
	}
	return printMembers(u, members, []string{"updated_at"})
}

// membersIn are the claims of a token.
func membersIn(object json.RawMessage) ([]oauth.Member, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(object, &all); err != nil {
		return nil, err
	}
	var members []oauth.Member
	for _, name := range slices.Sorted(maps.Keys(all)) {
		members = append(members, oauth.Member{Name: name, Value: all[name]})
	}
	return members, nil
}

// checkIdentity compares the identity URL of a Salesforce document with its
// signature.
func (t *target) checkIdentity(ctx context.Context, src *evergrant.Source, named bool) error {
	document, err := src.Document(ctx)
	if err != nil {
		return err
	}
	var d struct {
		ID        string `json:"id"`
		IssuedAt  string `json:"issued_at"`
		Signature string `json:"signature"`
		Secret    string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(document.Reveal()), &d); err != nil || d.Signature == "" {
		return usageError{errors.New("the grant has no signed identity URL"), "--check-signature is for Salesforce grants, as the provider's answer is kept whole"}
	}
	s, err := src.Status(ctx)
	if err != nil {
		return err
	}
	var secret evergrant.Secret
	switch ref := cmp.Or(t.secret, s.SecretRef); {
	case ref != "":
		if secret, err = clientSecretAt(ctx, ref); err != nil {
			return err
		}
	case named && d.Secret != "":
		secret = evergrant.NewSecret(d.Secret)
	default:
		return usageError{errors.New("the signature can only be checked with the client secret"), "give it with --client-secret by reference, such as env:NAME"}
	}
	if !oauth.VerifySalesforceSignature(d.ID, d.IssuedAt, d.Signature, secret) {
		return &evergrant.Error{Class: evergrant.ErrMisconfigured, Rule: "identity-signature", Says: "the signature does not fit the identity URL and this client secret; nobody was asked",
			Do: "check that the secret is this client's; if it is, the identity URL was changed after Salesforce gave it"}
	}
	t.u.say("the identity URL is signed by Salesforce")
	return nil
}
