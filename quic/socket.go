package quic

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// inUse reports whether another socket has the port. Windows has a number of
// its own for that (WSAEADDRINUSE).
func inUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.Errno(10048))
}

// bind opens the endpoint's UDP socket on port, or on a free one if that is
// zero.
//
// One socket serves IPv4 and IPv6: an SRV record has one port, so that a peer
// that learns it may use either family. On a host without IPv6 it is one of
// IPv4. OpenBSD has no sockets of both families: there it is one of IPv4, too.
func bind(port uint16) (*net.UDPConn, error) {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	switch {
	case inUse(err):
		return nil, fmt.Errorf("quic: UDP port %d is in use; choose another Config.Port, or 0 for a free one: %w", port, err)
	case err != nil:
		return nil, fmt.Errorf("quic: %w", err)
	}
	return socket, nil
}

// localPort returns the port of a socket.
func localPort(socket net.PacketConn) uint16 { return uint16(socket.LocalAddr().(*net.UDPAddr).Port) }

// onlyIPv4 reports whether a socket serves no IPv6.
func onlyIPv4(socket net.PacketConn) bool {
	return socket.LocalAddr().(*net.UDPAddr).IP.To4() != nil
}
