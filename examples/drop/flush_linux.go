package main

import "golang.org/x/sys/unix"

// flush drops what was typed at a terminal and not read yet. It does nothing
// where fd is no terminal.
func flush(fd int) { unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH) }
