package gather

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// coalesce makes the system coalesce packets, and reports whether it does.
func coalesce(c syscall.Conn) (done bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		done = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	})
	return done && err == nil
}

// coalesced returns the size of the packets in a message, or 0, and the control
// messages without the one that contains the size. It may overwrite oob.
func coalesced(oob []byte) (size int, rest []byte) {
	rest = oob[:0]
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, after, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4 {
			size = int(int32(binary.NativeEndian.Uint32(data)))
		} else {
			rest = append(rest, oob[:len(oob)-len(after)]...)
		}
		oob = after
	}
	return size, rest
}
