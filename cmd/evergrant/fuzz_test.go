package main

import (
	"strings"
	"testing"
)

// FuzzGitInput: what git says on stdin is read as lines of name=value up to an
// empty one, or refused.
func FuzzGitInput(f *testing.F) {
	for _, text := range []string{"protocol=https\nhost=git.example\n\n", "wwwauth[]=Basic\nwwwauth[]=Bearer\nwwwauth[]=\n", "capability[]=authtype\nhost", "=\n\nhost=later", "a=b=c\r\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := readGit(strings.NewReader(text))
		if err != nil {
			return
		}
		head, _, _ := strings.Cut(text, "\n\n")
		for name, value := range q.one {
			if !strings.Contains(head, name+"="+value) {
				t.Errorf("%q=%q was never said", name, value)
			}
		}
		for name, values := range q.many {
			for _, value := range values {
				if !strings.Contains(head, name+"[]="+value) {
					t.Errorf("%q[]=%q was never said", name, value)
				}
			}
		}
	})
}
