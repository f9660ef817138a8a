//go:build unix && !solaris && !aix

package library

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks a file for this process, until [unlockFile].
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// unlockFile releases the lock at once. Closing the file is not enough: a child
// that was just forked, and has not executed its program yet, has a copy.
func unlockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }
