package figures_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/evergrant/evergrant/prove/figures"
)

// TestAdd: what several add at once is read whole; without the variable
// nothing happens.
func TestAdd(t *testing.T) {
	t.Setenv(figures.Variable, "")
	if err := figures.Add(figures.Figure{Name: figures.Kills, N: 1}); err != nil {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), "figures")
	t.Setenv(figures.Variable, path)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := figures.Add(append(figures.ByKind(figures.Kills, map[string]int{"token": 2}), figures.Figure{Name: figures.Seed, N: 1, Note: "7"})...); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := figures.Read(f)
	if err != nil || len(list) != 40 || !slices.Contains(list, figures.Figure{Name: figures.Kills, Kind: "token", N: 2}) {
		t.Errorf("%d figures, %v", len(list), err)
	}
	t.Setenv(figures.Variable, t.TempDir())
	if err := figures.Add(figures.Figure{Name: figures.Kills, N: 1}); err == nil {
		t.Error("a folder took figures")
	}
}

func TestRead(t *testing.T) {
	for _, text := range []string{"seven\n", `{"n":7}` + "\n", `{"name":"x","n":"7"}` + "\n"} {
		if list, err := figures.Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q gave %v", text, list)
		}
	}
}
