//go:build unix && !solaris && !aix

package block

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock locks f until it is closed or the process ends. It reports false if f is locked by somebody else.
func lock(f *os.File) bool { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

// removeOpen closes and removes f.
func removeOpen(dir *os.Root, f *os.File, name string) {
	dir.Remove(name) // while it is locked
	f.Close()
}

// alone tells whether a file has no second name.
func alone(f *os.File) bool {
	var stat unix.Stat_t
	return unix.Fstat(int(f.Fd()), &stat) == nil && stat.Nlink <= 1
}
