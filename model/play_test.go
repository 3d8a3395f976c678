package model_test

import (
	"testing"

	"github.com/evergrant/evergrant/model"
)

// cases are every fault that a program can be made to meet from outside, at
// every point where a crash differs.
func cases() []model.Case {
	var all []model.Case
	for _, c := range classes {
		for at := model.BeforeIntent; at <= model.Stored; at++ {
			all = append(all, model.Case{Class: c, Fault: model.Crash, At: at})
		}
		for _, f := range []model.Fault{model.LostRequest, model.LostReply, model.DelayedRequest, model.After5xx, model.BusyAnswer,
			model.WriteFails, model.DiskFull, model.ForeignEdit, model.ForeignLogin, model.SetBack} {
			all = append(all, model.Case{Class: c, Fault: f})
		}
	}
	return all
}

func TestPlay(t *testing.T) {
	for _, c := range cases() {
		p := c.Play()
		t.Logf("%v %v %v: %v alive %t newest %d", c.Class, c.Fault, c.At, p.Runs, p.Alive, p.Newest)
	}
}
