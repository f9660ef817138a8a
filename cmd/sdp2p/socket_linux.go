package main

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// bufferWanted is how many bytes quic-go asks the system to hold for a socket in each direction.
const bufferWanted = 7 << 20

// socketChecks tells what the system grants to a socket as quic-go makes it, without the privileges of an administrator.
func socketChecks() []check {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		return []check{{"socket", "", fail, err.Error(), "The system refuses the socket: a sandbox, or too many open files."}}
	}
	defer conn.Close()
	_, _ = conn.SetReadBuffer(bufferWanted), conn.SetWriteBuffer(bufferWanted) // as much as it grants
	raw, err := conn.SyscallConn()
	if err != nil {
		return []check{{"socket", "", warn, err.Error(), ""}}
	}
	var in, out int
	var inErr, outErr, gso error
	err = raw.Control(func(fd uintptr) {
		in, inErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		out, outErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		_, gso = unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	})
	if err != nil {
		return []check{{"socket", "", warn, err.Error(), ""}}
	}
	disabled, _ := strconv.ParseBool(os.Getenv("QUIC_GO_DISABLE_GSO"))
	return []check{
		buffer("receive buffer", "rmem_max", in, inErr),
		buffer("send buffer", "wmem_max", out, outErr),
		segmentation(gso, disabled),
	}
}

// buffer judges what was granted, which Linux counts twice, since it needs room of its own.
func buffer(subject, limit string, granted int, err error) check {
	c := check{"socket", subject, fine, fmt.Sprintf("%d KiB of %d wanted", granted>>10, bufferWanted>>10), ""}
	if err != nil {
		c.Verdict, c.Value = warn, err.Error()
	} else if granted < bufferWanted {
		c.Verdict = warn
		c.Advice = fmt.Sprintf("Fast transfers lose packets, and become slow. \"sysctl -w net.core.%s=7500000\" as root; a file in /etc/sysctl.d makes it last.", limit)
	}
	return c
}

// segmentation judges UDP_SEGMENT: whether the kernel cuts what is handed to it at once into packets.
func segmentation(err error, disabled bool) check {
	c := check{"socket", "GSO", fine, "on", ""}
	switch {
	case disabled:
		c.Verdict, c.Value, c.Advice = warn, "switched off by QUIC_GO_DISABLE_GSO", "Sending takes more of the processor. Unset that, unless the driver needs it."
	case err != nil:
		c.Verdict, c.Value, c.Advice = warn, "not there: "+err.Error(), "Sending takes more of the processor. Linux has it since version 4.18."
	}
	return c
}

// hearErrors has a connected socket told of all errors that come back. Without it, Linux keeps those to itself that may
// pass, such as that no host has an address (ip(7), IP_RECVERR).
func hearErrors(conn *net.UDPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // of the two, one fails
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	})
}
