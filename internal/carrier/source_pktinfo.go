//go:build darwin || linux || freebsd

package carrier

import (
	"golang.org/x/sys/unix"
)

// withoutSource returns control messages without those that set a packet's
// source address and interface, and reports whether there were any. quic-go
// sets them in its answers.
func withoutSource(oob []byte) (rest []byte, found bool) {
	if len(oob) == 0 {
		return nil, false
	}
	rest = make([]byte, 0, len(oob))
	for left := oob; len(left) > 0; {
		if len(left) < unix.SizeofCmsghdr {
			return nil, false
		}
		h, _, remainder, err := unix.ParseOneSocketControlMessage(left)
		if err != nil {
			return nil, false
		}
		if isSource(h.Level, h.Type) {
			found = true
		} else {
			rest = append(rest, left[:len(left)-len(remainder)]...)
		}
		left = remainder
	}
	return rest, found
}

func isSource(level, kind int32) bool {
	return level == unix.IPPROTO_IP && kind == ipv4Source || level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO
}
