package console

import "golang.org/x/sys/unix"

// flush drops unread input of a terminal. It does nothing if fd is not a
// terminal.
func flush(fd int) { unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH) }
