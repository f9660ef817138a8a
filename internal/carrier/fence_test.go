package carrier

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Packets that a fence holds back are lost, whichever way they are sent,
// without an error.
func TestFence(t *testing.T) {
	t.Parallel()
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	near, far := listen(), listen()
	at := func(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }
	udp, err := net.ListenUDP("udp4", nil)
	require.NoError(t, err)
	s := New(udp, Config{})
	t.Cleanup(func() { s.Close() })
	send := func(text string) {
		for _, c := range []*net.UDPConn{far, near} {
			to := net.UDPAddrFromAddrPort(at(c))
			n, _, err := s.WriteMsgUDP([]byte(text+" 1"), nil, to)
			require.NoError(t, err)
			require.Equal(t, len(text)+2, n)
			n, err = s.WriteTo([]byte(text+" 2"), to)
			require.NoError(t, err)
			require.Equal(t, len(text)+2, n)
			w := s.Way(at(c))
			n, err = w.WriteTo([]byte(text+" 3"), to)
			require.NoError(t, err)
			require.Equal(t, len(text)+2, n)
			w.Close()
		}
	}
	next := func(c *net.UDPConn) string {
		b := make([]byte, 64)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		n, err := c.Read(b)
		require.NoError(t, err)
		return string(b[:n])
	}
	s.Fence(func(to netip.AddrPort) bool { return to == at(near) })
	send("fenced")
	s.Fence(nil)
	send("open")
	for _, text := range []string{"open 1", "open 2", "open 3"} {
		require.Equal(t, text, next(far))
	}
	for _, text := range []string{"fenced 1", "fenced 2", "fenced 3", "open 1", "open 2", "open 3"} {
		require.Equal(t, text, next(near))
	}
}
