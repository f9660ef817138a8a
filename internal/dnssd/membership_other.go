//go:build !linux

package dnssd

import (
	"errors"
	"net"
	"syscall"
)

// membershipLimit names the limit of a socket's memberships.
var membershipLimit = [families]string{"the system's limits", "the system's limits"}

// wsaNoBuffers is the Windows counterpart of ENOBUFS.
const wsaNoBuffers = syscall.Errno(10055)

// isMemberships reports whether an error of joining a group means that the
// socket is a member of too many.
func isMemberships(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, wsaNoBuffers) || errors.Is(err, syscall.ETOOMANYREFS)
}

// onlyJoined does nothing: other systems deliver only packets to groups that
// the socket has joined.
func onlyJoined(*net.UDPConn, Family) {}
