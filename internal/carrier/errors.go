package carrier

import (
	"errors"
	"syscall"
)

// A blame is the subject of a system error.
type blame int

const (
	caller    blame = iota // the use of the socket, or unknown: the caller gets the error
	network                // the network, here or on the way, or the socket
	onePacket              // one packet or one peer: the next can be sent or read
)

// about returns the subject of an error.
func about(err error) blame {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return blames(errno)
	}
	return caller
}
