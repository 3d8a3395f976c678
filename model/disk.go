package model

// The page cache and the disk. A directory operation reaches the disk in the
// order it was made, at the latest with a sync of the directory; a power cut
// keeps any beginning of those still queued. A file's content reaches it with a
// sync of the file, which brings the file's own newest name along. Where the
// disk is Loose (btrfs) it brings nothing else; otherwise (ext4, xfs) it forces
// the journal and with it all that was queued.

// queue makes a directory operation in the page cache.
func (w *world) queue(c change) {
	c.applyTo(&w.cache)
	if w.queued == pending {
		w.break_(beyond)
		return
	}
	w.changes[w.queued] = c
	w.queued++
}

func (c *change) applyTo(n *names) {
	if c.kind&hasFile != 0 {
		n.file = c.file
	}
	if c.kind&hasTemp != 0 {
		n.temp[c.slot] = c.temp
	}
	if c.kind&hasState != 0 {
		n.state = c.state
	}
}

// syncDir makes every directory operation durable.
func (w *world) syncDir() {
	w.disk = w.cache
	w.changes, w.queued = [pending]change{}, 0
	w.remember()
}

// syncTemp makes a temporary file's content and name durable.
func (m *Model) syncTemp(w *world, slot uint8) {
	w.inode[w.cache.temp[slot].inode].synced = true
	if !m.Loose {
		w.syncDir()
		return
	}
	w.disk.temp[slot] = w.cache.temp[slot]
	for i := range w.changes[:w.queued] {
		if c := &w.changes[i]; c.kind&hasTemp != 0 && c.slot == slot {
			c.kind, c.slot, c.temp = c.kind&^hasTemp, 0, temp{}
		}
	}
	w.compact()
}

// syncFile is the same for the token file, whoever wrote it.
func (m *Model) syncFile(w *world) {
	w.inode[w.cache.file].synced = true
	if !m.Loose {
		w.syncDir()
		return
	}
	w.disk.file = w.cache.file
	for i := range w.changes[:w.queued] {
		c := &w.changes[i]
		c.kind, c.file = c.kind&^hasFile, 0
	}
	w.compact()
}

// compact drops operations of which nothing is left to do.
func (w *world) compact() {
	var rest [pending]change
	n := uint8(0)
	for _, c := range w.changes[:w.queued] {
		if c.kind != 0 {
			rest[n] = c
			n++
		}
	}
	w.changes, w.queued = rest, n
	w.remember()
}

// writeState replaces the state file. Its content is synced before the rename.
func (m *Model) writeState(w *world, r record) {
	if !m.Loose {
		w.syncDir()
	}
	w.queue(change{kind: hasState, state: r})
}

// remember notes which tokens are on the disk by now.
func (w *world) remember() {
	at := func(i uint8) {
		if n := w.inode[i]; n.synced && n.has.rt != 0 && !n.foreign {
			w.durable |= n.has.rt.bit()
		}
	}
	at(w.disk.file)
	for _, t := range w.disk.temp {
		if t.attempt != 0 && t.name != (doc{}) {
			at(t.inode)
		}
	}
	for _, r := range w.rescue {
		if r.attempt != 0 {
			w.durable |= r.has.rt.bit()
		}
	}
}

// cuts are the worlds after a power cut: each number of queued operations, and
// unsynced contents kept or torn.
func (w *world) cuts() []world {
	var out []world
	for n := range int(w.queued) + 1 {
		for _, torn := range []bool{false, true} {
			v := *w
			for i := range v.procs {
				v.end(i)
			}
			v.cut(n, torn)
			out = append(out, v)
		}
	}
	return out
}

func (w *world) cut(n int, torn bool) {
	for i := range w.changes[:n] {
		w.changes[i].applyTo(&w.disk)
	}
	w.cache = w.disk
	in := &w.cache.state.in
	in.thisBoot, in.sending = false, false // the phase was never synced
	for _, t := range w.cache.temp {
		if n := &w.inode[t.inode]; t.attempt != 0 && t.name == (doc{}) && !n.synced {
			n.has = doc{} // without its name it is nobody's
		}
	}
	for i := range w.inode {
		if torn && !w.inode[i].synced {
			w.inode[i].has = doc{}
		}
		w.inode[i].synced = true
	}
	w.syncDir()
	w.collect()
}

// end is a process that is no more: its lock is free, what it waited for finds
// nobody.
func (w *world) end(p int) {
	for i := range w.messages {
		if m := &w.messages[i]; int(m.to) == p+1 {
			if m.to = 0; m.kind != request {
				*m = message{}
			}
		}
	}
	if int(w.lock) == p+1 {
		w.lock = 0
	}
	w.procs[p] = proc{}
}

// newFile finds room for a content that nothing refers to.
func (w *world) newFile(n inode) uint8 {
	used := w.collect()
	for i := 1; i < inodes; i++ {
		if used&(1<<i) == 0 {
			w.inode[i] = n
			return uint8(i)
		}
	}
	w.break_(beyond)
	return 1
}

// collect forgets contents that no name leads to, and returns the others.
func (w *world) collect() uint16 {
	used := w.cache.files() | w.disk.files()
	for i := range w.changes[:w.queued] {
		c := &w.changes[i]
		if c.kind&hasFile != 0 {
			used |= 1 << c.file
		}
		if c.kind&hasTemp != 0 && c.temp.attempt != 0 {
			used |= 1 << c.temp.inode
		}
	}
	for i := range w.inode {
		if used&(1<<i) == 0 {
			w.inode[i] = inode{}
		}
	}
	return used
}

func (n *names) files() uint16 {
	used := uint16(1) << n.file
	for _, t := range n.temp {
		if t.attempt != 0 {
			used |= 1 << t.inode
		}
	}
	return used
}

// newSlot finds a name for a temporary file, if it can one that no leftover has.
func (w *world) newSlot() uint8 {
	for _, strict := range []bool{true, false} {
		for i := range w.cache.temp {
			if w.cache.temp[i].attempt == 0 && !(strict && w.disk.temp[i].attempt != 0) {
				return uint8(i)
			}
		}
	}
	w.break_(beyond)
	return 0
}

// unlink removes a temporary file.
func (w *world) unlink(slot uint8) { w.queue(change{kind: hasTemp, slot: slot}) }

// foreignWrite is another program that replaces the token file.
func (w *world) foreignWrite(d doc) {
	n := w.newFile(inode{has: d, synced: true, foreign: true})
	w.queue(change{kind: hasFile, file: n})
}
