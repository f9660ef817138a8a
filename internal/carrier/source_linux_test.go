package carrier

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Packets that the kernel refuses because of their pinned address or interface
// arrive all the same, over IPv4 and IPv6.
func TestGoneSource(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		to  string
		oob []byte
	}{
		"IPv4 address":       {"127.0.0.1", (&ipv4.ControlMessage{Src: net.IPv4(203, 0, 113, 77)}).Marshal()},
		"IPv4 interface":     {"127.0.0.1", (&ipv4.ControlMessage{IfIndex: 1 << 20}).Marshal()},
		"IPv6 address":       {"::1", (&ipv6.ControlMessage{Src: net.ParseIP("2001:db8::77")}).Marshal()},
		"IPv6 interface":     {"::1", (&ipv6.ControlMessage{IfIndex: 1 << 20}).Marshal()},
		"neither, but as is": {"127.0.0.1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			to, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(c.to)})
			if err != nil {
				t.Skip("this host has no such addresses:", err)
			}
			defer to.Close()
			bare := listenUDP(t)
			addr := to.LocalAddr().(*net.UDPAddr)
			_, _, err = bare.WriteMsgUDP([]byte("x"), c.oob, addr)
			require.Equal(t, c.oob == nil, err == nil, "otherwise this test shows nothing")
			s := New(bare, Config{})
			defer s.Close()
			_, _, err = s.WriteMsgUDP([]byte("it arrives"), c.oob, addr)
			require.NoError(t, err)
			require.NoError(t, to.SetReadDeadline(time.Now().Add(30*time.Second)))
			b := make([]byte, 100)
			for {
				n, err := to.Read(b)
				require.NoError(t, err)
				if string(b[:n]) == "it arrives" {
					break
				}
			}
			require.Zero(t, s.health.failing.Load())
		})
	}
}
