package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets this test binary be the program: every test below runs the
// real main in processes of its own; browser_test.go has the other programs.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"evergrant": main, "browse": browse, "paste": paste, "genkey": genkey})
}

// TestScripts runs testdata/script, one behaviour a file. script_test.go has
// the commands that the scripts use beyond those of testscript.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               setupScript,
		Condition:           condition,
		Cmds:                scriptCommands,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
	})
}
