//go:build unix

package secretfile

import (
	"io/fs"
	"os"
	"syscall"
)

// openFlag keeps the opening of a pipe in place of a file from blocking.
const openFlag = syscall.O_NONBLOCK

// foreign reports whether a file belongs to another user.
func foreign(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) != os.Geteuid()
}

// open reports whether a file's mode gives other users access.
func open(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }
