//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package console

import "golang.org/x/sys/unix"

const fread = 1 // FREAD of <sys/fcntl.h>: input, not output

// flush drops unread input of a terminal. It does nothing if fd is not a
// terminal.
func flush(fd int) { unix.IoctlSetPointerInt(fd, unix.TIOCFLUSH, fread) }
