//go:build unix && !solaris && !aix

package block

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock locks f until it is closed or the process ends.
func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// locked reports whether an error of lock means that the lock is held already.
func locked(err error) bool { return err == unix.EWOULDBLOCK }

// removeOpen closes and removes f.
func removeOpen(dir *os.Root, f *os.File, name string) {
	dir.Remove(name) // while f is still locked
	f.Close()
}

// alone reports whether a file has no second name.
func alone(f *os.File) bool {
	var stat unix.Stat_t
	return unix.Fstat(int(f.Fd()), &stat) == nil && stat.Nlink <= 1
}
