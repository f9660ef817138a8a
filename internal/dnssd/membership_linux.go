package dnssd

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// membershipLimit names the limit of a socket's memberships.
var membershipLimit = [families]string{
	IPv4: "the sysctl net.ipv4.igmp_max_memberships",
	IPv6: "the sysctl net.core.optmem_max",
}

// isMemberships reports whether an error of joining a group means that the
// socket is a member of too many.
func isMemberships(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// onlyJoined makes a socket receive only from groups that it has joined itself.
// By default, it receives from groups that any socket of the system has joined.
func onlyJoined(c *net.UDPConn, f Family) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if f == IPv4 {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
		} else { // since Linux 4.20
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
		}
	})
}
