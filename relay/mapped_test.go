package relay

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/portmap"
	"github.com/sdp2p/p2p/internal/relaytest"
)

var outside = netip.MustParseAddr("203.0.113.5")

// A gateway forwards, by PCP, any port that it is asked for, at a loopback
// address of its own.
type gateway struct {
	addr  netip.Addr
	asked chan uint32 // requested lifetimes
}

func startGateway(t *testing.T) *gateway {
	t.Helper()
	var c *net.UDPConn
	g := &gateway{asked: make(chan uint32, 100)}
	for try := 0; c == nil; try++ { // other tests may use the address
		g.addr = netip.AddrFrom4([4]byte{127, byte(rand.N(200) + 10), byte(rand.N(250)), byte(rand.N(250))})
		var err error
		if c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.addr, portmap.Port))); try == 20 {
			t.Skip("this system has only one loopback address:", err)
		}
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		for b := make([]byte, 100); ; {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n != 60 {
				continue
			}
			b[1] |= 0x80 // turns the request into an answer
			binary.BigEndian.PutUint32(b[8:], uint32(time.Now().Unix()))
			clear(b[12:24])
			copy(b[42:44], b[40:42])
			at := outside.As16()
			copy(b[44:60], at[:])
			c.WriteToUDPAddrPort(b[:n], from)
			g.asked <- binary.BigEndian.Uint32(b[4:])
		}
	}()
	return g
}

func (g *gateway) config(cfg Config) Config {
	cfg.MapPorts, cfg.gateway = true, func() netip.Addr { return g.addr }
	return cfg
}

// A mapped port is a candidate, between the node's own addresses and those at
// which relays see it. The mapping is renewed when the network changes, and
// released at the end.
func TestMappedPort(t *testing.T) {
	g, relay := startGateway(t), relaytest.Start(t)
	relay.Answer()
	n := start(t, g.config(Config{}), Server{Identity: relay.Identity, Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), relay.Port)}})
	n.ready(t, 1)
	port, _ := n.listener.Port()
	want := netip.AddrPortFrom(outside, port)
	eventually(t, func() bool { got, _ := n.relays.Mapped(); return got == want }, "mapped")
	require.NotZero(t, <-g.asked)
	own := n.relays.seam.Addrs()
	seen := n.relays.States()[0].Observed
	require.True(t, seen.IsValid())
	require.Equal(t, slices.Concat(own, []netip.AddrPort{want, seen}), n.relays.addrs())

	for len(g.asked) > 0 {
		<-g.asked
	}
	n.NetworkChanged()
	require.NotZero(t, <-g.asked)
	require.NoError(t, n.Shutdown(context.Background()))
	for lifetime := uint32(1); lifetime > 0; {
		lifetime = <-g.asked
	}
	_, err := n.relays.Mapped()
	require.ErrorIs(t, err, ErrNotMapped)
}

// A node asks the gateway for nothing if its connections stay at relays, or if
// no mapping is wanted.
func TestNoMappedPort(t *testing.T) {
	g, relay := startGateway(t), startStock(t)
	only, unasked := g.config(Config{Only: true}), g.config(Config{})
	unasked.MapPorts = false
	for _, cfg := range []Config{only, unasked} {
		n := start(t, cfg, relay.Server)
		n.ready(t, 1)
		n.NetworkChanged()
		_, err := n.relays.Mapped()
		require.ErrorIs(t, err, ErrNotMapped)
		require.NoError(t, n.Shutdown(context.Background()))
	}
	require.Empty(t, g.asked)
}
