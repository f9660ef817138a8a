package carrier

import (
	"errors"
	"syscall"
)

// A blame says what an error of the system is about.
type blame int

const (
	caller    blame = iota // how the socket is used, or nothing that is known: the caller is told
	network                // the network, this host's or all the way, or the socket
	onePacket              // one packet or one peer: the next may be sent, or read
)

// about returns what an error is about.
func about(err error) blame {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return blames(errno)
	}
	return caller
}
