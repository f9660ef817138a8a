//go:build unix

package secretfile

import (
	"io/fs"
	"os"
	"syscall"
)

// openFlag keeps a pipe in a file's place from holding us up.
const openFlag = syscall.O_NONBLOCK

// foreign reports whether a file belongs to another user.
func foreign(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) != os.Geteuid()
}

// open reports whether a file's mode lets other users use it.
func open(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }
