package carrier

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// blames returns the subject of an error from sending or reading.
func blames(errno syscall.Errno) blame {
	switch errno {
	case windows.WSAENETUNREACH, // no route
		windows.WSAENETDOWN,      // the interface is down
		windows.WSAEADDRNOTAVAIL, // no source address
		windows.WSAEINVAL,        // the source address is gone
		windows.WSAEACCES,        // a firewall
		windows.WSAENOTCONN,      // the system has taken the socket back
		windows.WSAESHUTDOWN,     // the same
		windows.WSAECONNABORTED,  // the same
		windows.WSAENOTSOCK,      // the same
		windows.WSAEPROVIDERFAILEDINIT:
		return network
	case windows.WSAEHOSTUNREACH, // this peer does not answer, or a router says so
		windows.WSAEHOSTDOWN,    // the same
		windows.WSAECONNREFUSED, // nothing listens there
		windows.WSAECONNRESET,   // the same, of an earlier packet
		windows.WSAENETRESET,    // the TTL of an earlier packet ran out
		windows.WSAENOBUFS:      // the interface's queue is full
		return onePacket
	}
	return caller
}

func isPermission(error) bool { return false }

// isTooLong reports whether a read failed because a packet was longer than the
// buffer. Only Windows does that; other systems truncate the packet.
func isTooLong(err error) bool { return errors.Is(err, windows.WSAEMSGSIZE) }
