package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// TestExpiryConventions: #41, status knows the ends of both tokens in every
// notation of other programs, from a file it sees for the first time.
func TestExpiryConventions(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	issued, end, last := now.Add(-10*time.Minute), now.Add(50*time.Minute), issuedPlus(now, 100*24*time.Hour)
	const life, refreshLife = 3600, 100 * 24 * 3600
	for name, members := range map[string]string{
		"expires_on as text":   fmt.Sprintf(`"expires_in":"3599","expires_on":"%d"`, end.Unix()),
		"expires_at":           fmt.Sprintf(`"expires_at":%d`, end.Unix()),
		"expires_at, fraction": fmt.Sprintf(`"expires_at":%d.0`, end.Unix()),
		"expires":              fmt.Sprintf(`"expires":%d`, end.Unix()),
		"expiry":               fmt.Sprintf(`"expiry":%q`, end.In(time.FixedZone("", 3600)).Format(time.RFC3339)),
		"expiry_date":          fmt.Sprintf(`"expiry_date":%d`, end.UnixMilli()),
		"expiresAt":            fmt.Sprintf(`"expiresAt":%d`, end.UnixMilli()),
		"issued_at, ms text":   fmt.Sprintf(`"issued_at":"%d","expires_in":%d`, issued.UnixMilli(), life),
		"tokenCreateTimeUtc":   fmt.Sprintf(`"tokenCreateTimeUtc":%d,"expires_in":%d`, issued.Unix(), life),
		"created_at":           fmt.Sprintf(`"created_at":%d,"expires_in":%d`, issued.Unix(), life),

		"refresh: x_refresh_token_expires_in": fmt.Sprintf(`"issued_at":%d,"x_refresh_token_expires_in":%d`, issued.Unix(), refreshLife),
		"refresh: refresh_expires_in":         fmt.Sprintf(`"issued_at":%d,"refresh_expires_in":%d`, issued.Unix(), refreshLife),
		"refresh: refresh_token_expires_in":   fmt.Sprintf(`"issued_at":%d,"refresh_token_expires_in":"%d"`, issued.Unix(), refreshLife),
		"refresh: refresh_token_expires_at":   fmt.Sprintf(`"refresh_token_expires_at":%d`, last.Unix()),
		"refresh: refreshTokenExpiresAt":      fmt.Sprintf(`"refreshTokenExpiresAt":%d`, last.UnixMilli()),
	} {
		t.Run("#41 "+name, func(t *testing.T) {
			t.Parallel()
			b := newBedOf(t, idptest.Generic, idptest.Habits{})
			b.write([]byte(`{"access_token":"a","refresh_token":"r",` + members + `}`))
			r := b.run("status", filepath.Base(b.path), "--json")
			var list []statusJSON
			if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list) != 1 {
				t.Fatalf("%v, %+v", err, r)
			}
			got, want := list[0].ExpiresAt, end
			if strings.HasPrefix(name, "refresh: ") {
				got, want = list[0].AbsoluteEnd, last
			}
			if !got.Equal(want) {
				t.Errorf("the end is %v, want %v: %s", got, want.UTC(), r.stdout)
			}
		})
	}
}

func issuedPlus(now time.Time, d time.Duration) time.Time { return now.Add(-10 * time.Minute).Add(d) }
