//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package main

import "golang.org/x/sys/unix"

const fread = 1 // FREAD of <sys/fcntl.h>: what is to be read, not written

// flush drops what was typed at a terminal and not read yet. It does nothing
// where fd is no terminal.
func flush(fd int) { unix.IoctlSetPointerInt(fd, unix.TIOCFLUSH, fread) }
