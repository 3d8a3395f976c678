package evergrant_test

import (
	"testing"

	"github.com/evergrant/evergrant"
	"github.com/evergrant/evergrant/idptest"
)

func TestRefreshFile(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		b := newBed(t, idptest.Config{Habits: idptest.Habits{Rotation: rotate}})
		r, err := b.refresh(evergrant.RefreshOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s", b.read())
		t.Logf("%+v", r)
		r, err = b.refresh(evergrant.RefreshOptions{}, func(c *evergrant.Config) { *c = evergrant.Config{RescueDirs: c.RescueDirs} })
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", r)
		t.Logf("%+v", b.idp.TokenRequests(b.grant.ID))
	}
}
