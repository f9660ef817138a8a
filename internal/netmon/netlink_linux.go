package netmon

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Netlink messages (man 7 netlink) have numbers in the byte order of the
// machine.

// messages calls each for every message in a buffer. A truncated message is
// skipped.
func messages(b []byte, each func(typ uint16, body []byte)) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(number(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:size])
		b = b[min(aligned(size), len(b)):]
	}
}

// typeMask is NLA_TYPE_MASK: the other bits are flags.
const typeMask = 0x3fff

// attributes calls each for every attribute after the fixed part of a message.
func attributes(b []byte, fixed int, each func(typ uint16, value []byte)) {
	b = b[min(fixed, len(b)):]
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:])&typeMask, b[unix.SizeofRtAttr:size])
		b = b[min(aligned(size), len(b)):]
	}
}

func aligned(n int) int { return (n + 3) &^ 3 }

// number returns the number in an attribute; 0 if it is too short.
func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
