//go:build darwin || linux || freebsd

package carrier

import (
	"net"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// option returns a control message.
func option(level, kind int32, data ...byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// A packet that cannot be sent from its pinned address is sent once more
// without that address, and with all other options.
func TestWithoutSource(t *testing.T) {
	t.Parallel()
	gone4 := (&ipv4.ControlMessage{Src: net.IPv4(192, 0, 2, 77), IfIndex: 3}).Marshal()
	gone6 := (&ipv6.ControlMessage{Src: net.ParseIP("2001:db8::77"), IfIndex: 3}).Marshal()
	ecn4, ecn6 := option(unix.IPPROTO_IP, unix.IP_TOS, 2), option(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 2, 0, 0, 0)
	segment := option(unix.IPPROTO_UDP, 103, 0xB0, 0x04) // UDP_SEGMENT of Linux
	join := func(all ...[]byte) (b []byte) {
		for _, m := range all {
			b = append(b, m...)
		}
		return b
	}
	for name, c := range map[string]struct{ oob, rest []byte }{
		"IPv4":                     {gone4, []byte{}},
		"IPv6":                     {gone6, []byte{}},
		"IPv4, as quic-go has it":  {join(gone4, segment, ecn4), join(segment, ecn4)},
		"IPv6, as quic-go has it":  {join(gone6, segment, ecn6), join(segment, ecn6)},
		"at the end":               {join(ecn4, gone4), ecn4},
		"in between":               {join(segment, gone6, ecn6), join(segment, ecn6)},
		"not pinned":               {join(segment, ecn4), nil},
		"nothing":                  {nil, nil},
		"what cannot be read":      {[]byte{1, 2, 3}, nil},
		"what cannot be read ends": {join(gone4, []byte{1, 2, 3}), nil},
	} {
		before := append([]byte(nil), c.oob...)
		var tried [][]byte
		f := newFake()
		f.write = func(_, oob []byte, _ *net.UDPAddr) error {
			tried = append(tried, oob)
			return failure("sendmsg", unix.EINVAL)
		}
		s := newBench(t, f)
		n, oobn, err := s.WriteMsgUDP(make([]byte, 9), c.oob, there)
		require.NoError(t, err, name)
		require.Equal(t, []int{9, len(c.oob)}, []int{n, oobn}, name)
		require.Equal(t, before, c.oob, "the caller's buffer must not change")
		if c.rest == nil {
			require.Len(t, tried, 1, name)
			continue
		}
		require.Len(t, tried, 2, name)
		require.Equal(t, c.rest, tried[1], name)

		f.write = func(_, oob []byte, _ *net.UDPAddr) error {
			if len(oob) == len(c.oob) {
				return failure("sendmsg", unix.EINVAL)
			}
			return failure("sendmsg", unix.EMSGSIZE)
		}
		_, _, err = s.WriteMsgUDP(make([]byte, 9), c.oob, there)
		require.ErrorIs(t, err, unix.EMSGSIZE, "the error of the second try counts")
	}
}

// Packets to an unpinned address leave from the address that the system
// chooses, until no caller wants that any more; packets to all others do not.
func TestUnpin(t *testing.T) {
	t.Parallel()
	pinned := append((&ipv4.ControlMessage{Src: net.IPv4(192, 0, 2, 77), IfIndex: 3}).Marshal(), option(unix.IPPROTO_IP, unix.IP_TOS, 2)...)
	rest := option(unix.IPPROTO_IP, unix.IP_TOS, 2)
	var seen []byte
	f := newFake()
	f.write = func(_, oob []byte, _ *net.UDPAddr) error {
		seen = oob
		return nil
	}
	s := newBench(t, f)
	send := func(to *net.UDPAddr) []byte {
		n, oobn, err := s.WriteMsgUDP(make([]byte, 9), pinned, to)
		require.NoError(t, err)
		require.Equal(t, []int{9, len(pinned)}, []int{n, oobn})
		return seen
	}
	mapped := &net.UDPAddr{IP: there.IP.To16(), Port: there.Port}
	require.Equal(t, pinned, send(there))
	first, second := s.Unpin(there.AddrPort()), s.Unpin(mapped.AddrPort())
	require.Equal(t, rest, send(there))
	require.Equal(t, rest, send(mapped))
	require.Equal(t, pinned, send(here))
	first()
	first()
	require.Equal(t, rest, send(there), "another caller still wants it")
	second()
	require.Equal(t, pinned, send(there))
	require.Nil(t, s.unpinned.Load())
}

// If the first packet of a socket is refused with EPERM, it is sent again.
func TestPermissionOnce(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.write = func([]byte, []byte, *net.UDPAddr) error {
		f.write = nil
		return failure("sendmsg", unix.EPERM)
	}
	s := newBench(t, f)
	_, _, err := s.WriteMsgUDP(nil, nil, there)
	require.NoError(t, err)
	_, writes := f.count()
	require.Equal(t, 2, writes)
	require.Zero(t, s.health.failing.Load())
}
