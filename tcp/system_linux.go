package tcp

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// control calls f with the socket. Options that cannot be set stay as they are.
func control(c *net.TCPConn, f func(fd int)) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// setUserTimeout makes the system end the connection if data stays
// unacknowledged for d (RFC 5482); zero leaves that to the system.
func setUserTimeout(c *net.TCPConn, d time.Duration) {
	control(c, func(fd int) {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}

// setFar tunes a connection that leaves the local network.
func setFar(c *net.TCPConn) {
	control(c, func(fd int) { _ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr") })
}

// setWindow limits the unread bytes that the other side may send.
func setWindow(c *net.TCPConn, size int) {
	control(c, func(fd int) { _ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, size) })
}

// allAcknowledged reports whether the other side has everything that was sent,
// so that pending data waits only for room in its window.
func allAcknowledged(c *net.TCPConn) (all bool) {
	control(c, func(fd int) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		all = err == nil && info.Unacked == 0
	})
	return all
}

// smoothedRTT returns the round-trip time that the system has measured, or 0.
func smoothedRTT(c *net.TCPConn) (rtt time.Duration) {
	control(c, func(fd int) {
		if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			rtt = time.Duration(info.Rtt) * time.Microsecond
		}
	})
	return rtt
}
