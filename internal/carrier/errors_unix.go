//go:build !windows

package carrier

import (
	"errors"
	"syscall"
)

// blames returns the subject of an error from sending or reading.
func blames(errno syscall.Errno) blame {
	switch errno {
	case syscall.ENETUNREACH, // no route
		syscall.ENETDOWN,      // the interface is down
		syscall.EADDRNOTAVAIL, // no source address, or one that is not ready yet
		syscall.EINVAL,        // the source address of IP_PKTINFO is gone (Linux)
		syscall.ENODEV,        // the interface of IP_PKTINFO is gone (Linux)
		syscall.ENXIO,         // the same (BSD, macOS)
		syscall.EPERM,         // a firewall
		syscall.EACCES,        // a firewall, or no permission for now (Android)
		syscall.ENOTCONN,      // the system has taken the socket back (iOS)
		syscall.EPIPE,         // the same
		syscall.ECONNABORTED:  // the same
		return network
	case syscall.EHOSTUNREACH, // this peer does not answer, or a router says so
		syscall.EHOSTDOWN,    // the same (BSD, macOS)
		syscall.ECONNREFUSED, // nothing listens there
		syscall.ECONNRESET,   // the same
		syscall.ENOBUFS,      // the interface's queue is full
		syscall.ENOMEM:
		return onePacket
	}
	return caller
}

func isPermission(err error) bool { return errors.Is(err, syscall.EPERM) }

// isTooLong reports whether a read failed because a packet was longer than the
// buffer. Only Windows does that; other systems truncate the packet.
func isTooLong(error) bool { return false }
