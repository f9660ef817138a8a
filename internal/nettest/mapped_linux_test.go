package nettest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/internal/portmap"
)

// TestPortGateway is not a test but a program: a router of netlab that maps
// ports by PCP (RFC 6887), to the same ports outside.
func TestPortGateway(t *testing.T) {
	var public netip.Addr
	console := netlab.Program(t, &public)
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: portmap.Port})
	require.NoError(t, err)
	defer c.Close()
	go func() {
		for b := make([]byte, 100); ; {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n != 60 || b[0] != 2 || b[1] != 1 {
				continue
			}
			to, port := from.Addr().Unmap(), binary.BigEndian.Uint16(b[40:])
			for _, rule := range []string{
				fmt.Sprintf("add rule ip nat before iifname %q udp dport %d dnat to %v:%d", netlab.Interface, port, to, port),
				fmt.Sprintf("insert rule ip nat through ip daddr %v udp dport %d accept", to, port),
			} {
				if out, err := exec.Command("nft", rule).CombinedOutput(); err != nil {
					console.Tell("failed", string(out))
				}
			}
			b[1] |= 0x80
			binary.BigEndian.PutUint32(b[8:], uint32(time.Now().Unix()))
			clear(b[12:24])
			copy(b[42:44], b[40:42])
			outside := public.As16()
			copy(b[44:60], outside[:])
			c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	console.Tell("started")
	console.Serve()
}

// Two nodes are behind routers that use another port for each destination. They
// get a direct path if one of the routers maps the port; a stream that was open
// before goes on.
func TestAwayMapped(t *testing.T) {
	t.Parallel()
	w := goAway(t, awayRow{a: netlab.Symmetric, b: netlab.Symmetric, relays: 1, mapped: true})
	w.hold(t)
	until(t, func() bool {
		return call[awayPath](t, w.a, "path").Kind == "direct" && call[awayPath](t, w.b, "path").Kind == "direct"
	})
	require.Equal(t, w.routers[1].Public(), netip.MustParseAddrPort(call[awayPath](t, w.a, "path").Remote).Addr())
	w.goesOn(t)
}
