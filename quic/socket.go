package quic

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// sockets are the UDP sockets of an endpoint, one for each family and both on one port: an SRV record has one port, so that
// a peer that learns it may use either family.
type sockets struct {
	port uint16
	ipv4 *net.UDPConn // nil if the host has no IPv4
	ipv6 *net.UDPConn // nil if the host has no IPv6
}

// bindAttempts is how many free ports of IPv4 are tried until one is free for IPv6 too.
const bindAttempts = 32

// inUse reports whether somebody else has the port. Windows has a number of its own for that (WSAEADDRINUSE).
func inUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.Errno(10048))
}

// bind opens the sockets on port, or on a free one if that is zero.
func bind(port uint16) (s sockets, err error) {
	for range bindAttempts {
		if s, err = bindBoth(port); err == nil || port != 0 || !inUse(err) {
			break
		}
	}
	if inUse(err) {
		return sockets{}, fmt.Errorf("quic: UDP port %d is in use; choose another Config.Port, or 0 for a free one: %w", port, err)
	}
	if err != nil {
		return sockets{}, fmt.Errorf("quic: %w", err)
	}
	return s, nil
}

func bindBoth(port uint16) (s sockets, err error) {
	s.port = port
	if s.ipv4, err = listenUDP("udp4", s.port); err != nil {
		return sockets{}, err
	}
	if s.ipv4 != nil {
		s.port = uint16(s.ipv4.LocalAddr().(*net.UDPAddr).Port)
	}
	if s.ipv6, err = listenUDP("udp6", s.port); err != nil {
		s.close()
		return sockets{}, err
	}
	if s.ipv6 != nil {
		s.port = uint16(s.ipv6.LocalAddr().(*net.UDPAddr).Port)
	}
	if s.ipv4 == nil && s.ipv6 == nil {
		return sockets{}, errors.New("the host has neither IPv4 nor IPv6")
	}
	return s, nil
}

// listenUDP returns nil where the host does not know the family.
func listenUDP(network string, port uint16) (*net.UDPConn, error) {
	conn, err := net.ListenUDP(network, &net.UDPAddr{Port: int(port)})
	if errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil, nil
	}
	return conn, err
}

func (s sockets) close() {
	if s.ipv4 != nil {
		s.ipv4.Close()
	}
	if s.ipv6 != nil {
		s.ipv6.Close()
	}
}

// lend is what the connection manager opens sockets with. It gets ours, and no others: what it cannot listen on, it must
// not dial from.
func (s sockets) lend(network string, _ *net.UDPAddr) (net.PacketConn, error) {
	switch {
	case network == "udp4" && s.ipv4 != nil:
		return s.ipv4, nil
	case network == "udp6" && s.ipv6 != nil:
		return s.ipv6, nil
	}
	return nil, fmt.Errorf("quic: this host has no %s", familyNames[network])
}

var familyNames = map[string]string{"udp4": "IPv4", "udp6": "IPv6"}
