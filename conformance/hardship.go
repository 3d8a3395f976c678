package conformance

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/evergrant/evergrant/idptest"
)

// crowd is how many processes refresh one file at once.
const crowd = 8

// raceCases run the program many times at once on one file.
func raceCases() []Case {
	return []Case{
		{"together", "races", "a cron job meets itself; the loser of the race sends a spent token and ends the grant for all", idptest.Habits{Rotation: true, DelayAfter: 50 * time.Millisecond}, func(t *trial) {
			t.crowdSucceeds(t.startCrowd())
		}},
		{"hold", "races", "a slow server: all wait on one answer, and none may send meanwhile", rotating, func(t *trial) {
			t.idp.HoldUntilReleased()
			all := t.startCrowd()
			t.gather()
			t.idp.Release()
			t.crowdSucceeds(all)
		}},
		{"static", "races", "writers that overtake each other leave a file of two halves, or the older token", idptest.Habits{OldAccessDies: true}, func(t *trial) {
			t.idp.HoldUntilReleased()
			all := t.startCrowd()
			t.gather()
			t.idp.Release()
			t.crowdSucceeds(all)
		}},
		{"busy", "races", "Salesforce refuses a second refresh while one runs; that is no verdict on the grant", idptest.Habits{Rotation: true, InFlight: "busy", DelayAfter: 50 * time.Millisecond}, func(t *trial) {
			t.harmless = true // the server itself sees to it
			for _, p := range t.startCrowd() {
				t.wait(p)
			}
			t.alive()
		}},
		{"reader", "races", "other programs read the file at any moment, and find it empty or half written", rotating, reader},
		{"lost", "races", "the reply of the first is lost, and seven others stand ready to send the spent token", rotating, func(t *trial) {
			t.idp.Next("lost")
			for _, p := range t.startCrowd() {
				t.wait(p)
			}
			t.served()
		}},
		{"login-meanwhile", "races", "somebody logs in while a refresh is under way; the new grant must not be overwritten by the old one's token", rotating, func(t *trial) {
			t.idp.HoldUntilReleased()
			p := t.start()
			if !t.eventually(t.program.limit, func() bool { return t.idp.Waiting() > 0 }) {
				t.failf("the run sent no request")
			}
			t.harmless = true // the first grant is not judged any more
			t.login()
			t.idp.Release()
			t.wait(p)
			t.alive()
		}},
	}
}

// reader reads the file without a break while the program refreshes it.
func reader(t *trial) {
	stop, torn := make(chan struct{}), make(chan error, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			raw, err := os.ReadFile(t.path)
			if err == nil {
				_, err = parse(raw)
			}
			if err != nil {
				torn <- err
				return
			}
		}
	})
	for range 10 {
		t.run()
	}
	close(stop)
	reading.Wait()
	select {
	case err := <-torn:
		t.failf("a reader of the file found: %v", err)
	default:
	}
	t.alive()
}

func (t *trial) startCrowd() []*process {
	var all []*process
	for range crowd {
		all = append(all, t.start())
	}
	return all
}

// gather waits until the whole crowd has sent, or the first has waited long
// enough for those that would.
func (t *trial) gather() {
	t.eventually(t.program.limit/2, func() bool { return t.idp.Waiting() > 0 })
	t.eventually(2*time.Second, func() bool { return t.idp.Waiting() == crowd })
}

// crowdSucceeds demands that every process of the crowd ends well.
func (t *trial) crowdSucceeds(all []*process) {
	failed, why := 0, ""
	for _, p := range all {
		if t.wait(p); !p.ok() {
			failed++
			why = p.exit()
		}
	}
	if failed > 0 {
		t.failf("%d of %d processes failed (%s)", failed, len(all), why)
	}
	t.alive()
	t.accessAlive()
}

// crashCases end the program in the middle.
func crashCases() []Case {
	killed := func(t *trial) {
		t.idp.HoldUntilReleased()
		p := t.start()
		if !t.eventually(t.program.limit, func() bool { return t.idp.Waiting() > 0 }) {
			t.failf("the run sent no request")
		}
		t.kill(p)
		t.idp.Release()
		t.idp.WaitIdle(patience)
	}
	return []Case{
		{"waiting-rotating", "crash", "killed while the answer was on its way; the next run must not send the spent token", rotating, func(t *trial) {
			killed(t)
			t.run()
			t.served()
		}},
		{"waiting-static", "crash", "killed while the answer was on its way; nothing was lost on this server", idptest.Habits{}, func(t *trial) {
			killed(t)
			t.run()
			t.alive()
			t.accessAlive()
		}},
		{"waiting-login", "crash", "killed, then somebody logs in: no lock or journal may stand in the way", rotating, func(t *trial) {
			killed(t)
			t.login()
			t.refreshes("the run after a new login")
		}},
		{"storing", "crash", "killed while the answer is stored: an emptied or half-written file is a lost grant", rotating, storing},
		{"stop", "crash", "a shutdown asks politely while the answer is on its way: it can be waited for and stored", rotating, func(t *trial) {
			t.idp.HoldUntilReleased()
			p := t.start()
			if !t.eventually(t.program.limit, func() bool { return t.idp.Waiting() > 0 }) {
				t.failf("the run sent no request")
			}
			if !askToStop(p.cmd) {
				t.kill(p)
				t.skip("this system can't ask a process to stop")
				return
			}
			time.Sleep(100 * time.Millisecond) // what the signal brings about must come before the answer
			t.idp.Release()
			t.wait(p)
			t.alive()
		}},
		{"starting", "crash", "killed while it starts: a lock left behind must not stop the next run", rotating, func(t *trial) {
			t.run()
			p := t.start()
			time.Sleep(time.Millisecond)
			t.kill(p)
			t.idp.WaitIdle(patience)
			if t.run(); t.sent() > 1 {
				t.served() // it had got as far as sending
				return
			}
			t.alive()
		}},
	}
}

// storing kills the program at moments around the arrival of the answer. What
// the next run makes of it is the matter of other cases.
func storing(t *trial) {
	for i := range 16 {
		t.login()
		p := t.start()
		t.eventually(t.program.limit, func() bool {
			list := t.idp.TokenRequests(t.grant.ID)
			return len(list) > 0 && list[len(list)-1].Processed
		})
		time.Sleep(time.Duration(i*i) * 60 * time.Microsecond) // 0 to 13 ms
		t.kill(p)
		t.idp.WaitIdle(patience)
		d, err := parse(t.read())
		if err != nil {
			t.failf("killed while it stored the answer: %v", err)
			return
		}
		if id, _, _ := t.idp.Find(d.text("refresh_token")); id != t.grant.ID {
			t.failf("killed while it stored the answer: the file holds neither the old nor the new refresh token")
			return
		}
	}
}

// writeCases take the disk away.
func writeCases() []Case {
	return []Case{
		{"read-only", "write", "a token that can't be stored must not be asked for: the answer would be the only copy", rotating, func(t *trial) {
			lift := t.forbidWriting()
			if t.skipped != "" || t.broken != nil {
				return
			}
			before := t.read()
			t.refused(t.run(), before)
			if n := t.sent(); n > 0 {
				t.failf("%s sent although the file can't be written", plural(n, "request"))
			}
			lift()
			t.refreshes("the run after the folder was made writable")
		}},
		{"full-disk", "write", "a full disk cut token files to nothing, and the refresh token with them", rotating, func(t *trial) {
			empty := t.fillDisk()
			if t.skipped != "" || t.broken != nil {
				return
			}
			t.run()
			t.document()
			empty()
			t.run()
			t.alive()
		}},
		{"filled-meanwhile", "write", "the disk fills while the answer is on its way: the room must have been taken before", rotating, func(t *trial) {
			if !t.ownDisk() {
				return
			}
			t.idp.HoldUntilReleased()
			p := t.start()
			t.eventually(t.program.limit, func() bool { return t.idp.Waiting() > 0 })
			empty := t.fill()
			t.idp.Release()
			t.eventually(2*time.Second, func() bool { return t.idp.Waiting() == 0 })
			t.wait(p)
			t.document()
			empty()
			t.run()
			t.alive()
		}},
		{"no-folder", "write", "no place for temporary files is no reason to lose a token", rotating, func(t *trial) {
			if err := os.Remove(t.tmp()); err != nil {
				t.fault(err)
			}
			if p := t.run(); p.ok() {
				t.accessAlive()
			}
			t.alive()
		}},
	}
}

// diskSize is the size of the small disk.
const diskSize = 256 << 10

// ownDisk puts the token file on a small disk of its own, if this machine allows.
func (t *trial) ownDisk() bool {
	if err := mountSmall(t.dir, diskSize); err != nil {
		t.skip("a small disk can be made by root on Linux only")
		return false
	}
	t.undo = append(t.undo, func() { unmount(t.dir) })
	t.login()
	return true
}

// fillDisk is ownDisk and fill.
func (t *trial) fillDisk() (empty func()) {
	if !t.ownDisk() {
		return nil
	}
	return t.fill()
}

// fill takes all the room there is; what it returns gives it back.
func (t *trial) fill() (empty func()) {
	path := filepath.Join(t.dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.fault(err)
		return func() {}
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.fault(err)
		}
	}
}

// forbidWriting makes the folder and the file read-only, for root too.
func (t *trial) forbidWriting() (lift func()) {
	if os.Geteuid() == 0 {
		if !t.ownDisk() {
			return nil
		}
		if err := remountReadOnly(t.dir); err != nil {
			t.skip("a disk could not be made read-only")
		}
		return func() { t.check(remountWritable(t.dir)) }
	}
	t.check(os.Chmod(t.path, 0o400))
	t.check(os.Chmod(t.dir, 0o500))
	if f, err := os.OpenFile(t.path, os.O_WRONLY, 0); err == nil {
		f.Close()
		t.skip("this system lets the owner write what is read-only")
	}
	lift = func() {
		t.check(os.Chmod(t.dir, 0o700))
		t.check(os.Chmod(t.path, 0o600))
	}
	t.undo = append(t.undo, func() { os.Chmod(t.dir, 0o700) })
	return lift
}

func (t *trial) check(err error) {
	if err != nil {
		t.fault(err)
	}
}

// secretCases look for tokens where they do not belong.
func secretCases() []Case {
	printed := func(name, why string, habits idptest.Habits, fault idptest.Fault) Case {
		return Case{name, "secrets", why, habits, func(t *trial) {
			t.harmless = true
			t.idp.Next(fault)
			t.silent(t.run())
		}}
	}
	return []Case{
		printed("printed-success", "output ends in the logs of a scheduler, which more people read than the file", rotating, "none"),
		printed("printed-refusal", "error messages quote the request, and are pasted into tickets", rotating, "error=dead"),
		printed("printed-lost", "error messages quote the request, and are pasted into tickets", rotating, "lost"),
		printed("printed-odd", "error messages quote the answer, and are pasted into tickets", rotating, "exp-array"),
		printed("printed-cut", "error messages quote the answer, and are pasted into tickets", rotating, "short-length"),
		printed("printed-error-200", "debug output shows the answer", rotating, "error-and-token"),
		{"arguments", "secrets", "every user of the machine can read the arguments of a process", rotating, func(t *trial) {
			if !seesProcesses {
				t.skip("the process list can be read on Linux only")
				return
			}
			t.idp.HoldUntilReleased()
			p := t.start()
			if !t.eventually(t.program.limit, func() bool { return t.idp.Waiting() > 0 }) {
				t.failf("the run sent no request")
			}
			list := arguments(p.cmd.Process.Pid)
			t.idp.Release()
			t.wait(p)
			if bytes.Contains(list, []byte(mark)) {
				t.failf("a token stands in the arguments of a process")
			}
		}},
		{"copies", "secrets", "a copy beside the file is found by backups, by git and by the next user", rotating, func(t *trial) {
			twice(t)
			t.noCopies()
		}},
		{"copies-refused", "secrets", "what a failed run leaves behind stays for ever", rotating, func(t *trial) {
			t.idp.Next("error=dead")
			t.run()
			t.noCopies()
		}},
		{"mode", "secrets", "a token file that only its owner could read must stay so", rotating, func(t *trial) {
			t.refreshes("the run")
			t.sameMode(0o600)
		}},
		{"mode-meanwhile", "secrets", "a temporary file that others can read is read", rotating, func(t *trial) {
			t.idp.HoldUntilReleased()
			p := t.start()
			t.eventually(t.program.limit, func() bool { return t.idp.Waiting() > 0 })
			t.each(func(path string, info fs.FileInfo, content []byte) {
				if bytes.Contains(content, []byte(mark)) && info.Mode().Perm()&0o077 != 0 {
					t.failf("while the answer is on its way, %s has mode %#o", t.name(path), info.Mode().Perm())
				}
			})
			t.idp.Release()
			t.wait(p)
		}},
	}
}

// noCopies demands that no file but the token file holds a token.
func (t *trial) noCopies() {
	t.each(func(path string, _ fs.FileInfo, content []byte) {
		if path != t.path && bytes.Contains(content, []byte(mark)) {
			t.failf("%s holds a token", t.name(path))
		}
	})
}

// each visits every file below the trial's folder.
func (t *trial) each(visit func(path string, info fs.FileInfo, content []byte)) {
	filepath.WalkDir(t.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // a temporary file may be gone by now
		}
		content, err := os.ReadFile(path)
		info, err2 := d.Info()
		if err == nil && err2 == nil {
			visit(path, info, content)
		}
		return nil
	})
}

// name is a path inside the trial's folder.
func (t *trial) name(path string) string {
	return strings.TrimPrefix(path, t.root+string(filepath.Separator))
}

// sameMode demands a mode of the token file.
func (t *trial) sameMode(want fs.FileMode) {
	info, err := os.Stat(t.path)
	if err != nil {
		t.failf("the token file is gone")
		return
	}
	if got := info.Mode().Perm(); got != want && filepath.Separator == '/' {
		t.failf("the mode of the file was %#o and is %#o", want, got)
	}
}
