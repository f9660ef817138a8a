package main

import (
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// askSocket returns the facts of a socket made as quic-go does, without the
// privileges of an administrator.
func askSocket() (s socketFacts) {
	s.asked = true
	var conn *net.UDPConn
	if conn, s.err = net.ListenUDP("udp", &net.UDPAddr{}); s.err != nil {
		return s
	}
	defer conn.Close()
	_, _ = conn.SetReadBuffer(bufferWanted), conn.SetWriteBuffer(bufferWanted) // as much as it grants
	control(conn, func(fd int) {
		s.in, s.inErr = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		s.out, s.outErr = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
		_, s.segmentation = unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	})
	s.disabled, _ = strconv.ParseBool(os.Getenv("QUIC_GO_DISABLE_GSO"))
	return s
}
