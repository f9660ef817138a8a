//go:build !linux

package dnssd

import (
	"errors"
	"net"
	"syscall"
)

// membershipLimit names what bounds the memberships of a socket.
var membershipLimit = [families]string{"the system's limits", "the system's limits"}

// wsaNoBuffers is what Windows says instead of ENOBUFS.
const wsaNoBuffers = syscall.Errno(10055)

// isMemberships reports whether an error of joining a group means that the
// socket is a member of too many.
func isMemberships(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, wsaNoBuffers) || errors.Is(err, syscall.ETOOMANYREFS)
}

// onlyJoined does nothing: other systems deliver what comes to groups that the
// socket joined.
func onlyJoined(*net.UDPConn, Family) {}
