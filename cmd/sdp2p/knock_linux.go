package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hearErrors makes a connected socket report all errors that come back.
// Otherwise Linux hides those that may pass, such as that no host has an
// address (ip(7), IP_RECVERR). It also keeps packets from being fragmented.
func hearErrors(conn *net.UDPConn) {
	control(conn, func(fd int) { // of two families, one fails
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	})
}

// told returns the network's last message, or nil if the error was not the
// network's.
func told(conn *net.UDPConn) (last *reject) {
	control(conn, func(fd int) {
		for oob := make([]byte, 512); ; {
			_, n, _, _, err := unix.Recvmsg(fd, nil, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			all, err := unix.ParseSocketControlMessage(oob[:n])
			if err != nil {
				return
			}
			for _, m := range all {
				if r := parseReject(m); r != nil {
					last = r
				}
			}
		}
	})
	return last
}

// parseReject reads a control message with a sock_extended_err, followed by the
// address of the ICMP message's sender (ip(7), IP_RECVERR).
func parseReject(m unix.SocketControlMessage) *reject {
	const size = int(unsafe.Sizeof(unix.SockExtendedErr{}))
	if len(m.Data) < size ||
		(m.Header.Level != unix.IPPROTO_IP || m.Header.Type != unix.IP_RECVERR) &&
			(m.Header.Level != unix.IPPROTO_IPV6 || m.Header.Type != unix.IPV6_RECVERR) {
		return nil
	}
	const originAt, kindAt, codeAt, infoAt = 4, 5, 6, 8
	r := &reject{kind: m.Data[kindAt], code: m.Data[codeAt], v6: m.Header.Level == unix.IPPROTO_IPV6}
	info := int(binary.NativeEndian.Uint32(m.Data[infoAt:]))
	switch m.Data[originAt] {
	case unix.SO_EE_ORIGIN_LOCAL:
		if unix.Errno(binary.NativeEndian.Uint32(m.Data)) != unix.EMSGSIZE {
			return nil
		}
		if r.kind, r.code = 3, 4; r.v6 { // as in a router's message
			r.kind, r.code = 2, 0
		}
	case unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6:
		r.from = address(m.Data[size:])
	default:
		return nil
	}
	if r.class() == tooLarge {
		r.mtu = info
	}
	return r
}

// address reads a sockaddr_in or a sockaddr_in6.
func address(b []byte) netip.Addr {
	if len(b) < 2 {
		return netip.Addr{}
	}
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET && len(b) >= unix.SizeofSockaddrInet4:
		return netip.AddrFrom4([4]byte(b[4:8]))
	case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6:
		return netip.AddrFrom16([16]byte(b[8:24])).Unmap()
	}
	return netip.Addr{}
}

// control calls f with a socket's descriptor.
func control(conn *net.UDPConn, f func(fd int)) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // it fails if the socket is closed
	}
}
