package dnssd_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// No forger can make a node send packets to a host outside the link: an
// instance that is announced elsewhere is not probed there when it is
// withdrawn, unless it has answered there.
func TestProbesStayOnTheLink(t *testing.T) {
	for _, answered := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			p := &prover{}
			n := runWith(t, hostOn(link, eth4(1)), p.config())
			o := newOutsider(t, link, 66)
			pass(time.Minute)
			at := netip.MustParseAddrPort("203.0.113.9:4242")
			for i := range 10 {
				label := fmt.Sprint("forged", i)
				m := instance(t, label, "203.0.113.9", "x=1")
				o.send(m)
				pass(500 * time.Millisecond)
				if answered {
					n.Met(label, at)
					pass(time.Millisecond)
				}
				m.Answer = m.Answer[:1]
				m.Answer[0].Header().Ttl = 0
				o.send(m)
				pass(5 * time.Second)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			require.Equal(t, answered, slices.Contains(p.addrs, at))
		})
	}
}

// A record without a port is ignored.
func TestNoPort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		o := newOutsider(t, link, 2)
		pass(time.Second)
		o.send(reply(t, "_sd._udp.local. 4500 IN PTR a._sd._udp.local.", "a._sd._udp.local. 120 IN SRV 0 0 0 a.local.",
			"a._sd._udp.local. 4500 IN TXT \"x=1\"", "a.local. 120 IN A 10.0.0.2"))
		pass(time.Minute)
		require.Empty(t, n.log())
	})
}
