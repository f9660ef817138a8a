package quic

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// inUse reports whether an error means that another socket has the port.
// Windows has an error number of its own for that (WSAEADDRINUSE).
func inUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.Errno(10048))
}

// bind opens the endpoint's UDP socket on port, or on a free one if that is
// zero.
//
// One socket serves IPv4 and IPv6: an SRV record has only one port, which a
// peer may use with either family. It is an IPv4 socket on a host without IPv6,
// and on OpenBSD, which has no sockets for both families.
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

// onlyIPv4 reports whether a socket serves only IPv4.
func onlyIPv4(socket net.PacketConn) bool {
	return socket.LocalAddr().(*net.UDPAddr).IP.To4() != nil
}
