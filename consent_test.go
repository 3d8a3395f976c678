package evergrant_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evergrant/evergrant"
)

// TestConsentHint: where a signed login lacks the user's approval, the catalog's
// words for it reach the user (DocuSign).
func TestConsentHint(t *testing.T) {
	grants, _ := asking(t)
	cfg := grants["jwt-bearer"]
	cfg.Provider, cfg.ClientID, cfg.TokenURL = "docusign", "app", answering(t, 400, "body", `{"error":"consent_required"}`)
	cfg.RescueDirs = []string{t.TempDir()}
	path := filepath.Join(t.TempDir(), "token.json")
	if err := evergrant.KeepFile(context.Background(), path, []byte(`{"access_token": "first"}`), cfg); err != nil {
		t.Fatal(err)
	}
	s, err := evergrant.OpenFile(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Refresh(context.Background(), evergrant.RefreshOptions{})
	var e *evergrant.Error
	if !errors.As(err, &e) || !errors.Is(err, evergrant.ErrMisconfigured) || !strings.Contains(e.Do, "impersonation") {
		t.Errorf("got %+v", err)
	}
}
