package lockedfile

// NetworkInfo says what kind of file system a file is on, as far as locks are
// concerned. The zero value means a local file system, or one that can't be told.
type NetworkInfo struct {
	// Kind is the file system's name as the system has it ("ext4", "nfs4", "cifs",
	// "fuse.sshfs", "9p"), "" where it isn't known.
	Kind string

	// Remote reports that other machines may have the same files. A lock may
	// still reach them, if LocalLocks is false.
	Remote bool

	// LocalLocks reports that locks taken here are not seen by other machines: two
	// of them may hold "the" lock at the same time.
	LocalLocks bool

	// Why names the mount option or habit behind LocalLocks, "" where it is false.
	Why string
}

// Network tells whether a lock on path excludes other machines. It never touches
// the network itself. The answer rests on the kind of the file system and, on
// Linux, the mount options; macOS and FreeBSD know the kind only, and all other
// systems answer with the zero value.
func Network(path string) (NetworkInfo, error) { return network(path) }
