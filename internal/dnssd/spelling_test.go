package dnssd_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// A forger announces the label of an instance in other spellings, before the
// instance is there or all the time: the instance is still reported under its
// own spelling, and lost with it. Once its key has answered, it has only one
// spelling.
//
// All nodes ask for proofs here: a node that does not gives way to a host that
// uses the name of its host (RFC 6762 §9), and its address is unknown for a
// moment.
func TestSpellings(t *testing.T) {
	for _, before := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			n := runWith(t, hostOn(link, eth4(1)), (&prover{}).config())
			o := newOutsider(t, link, 9)
			pass(time.Minute)
			forge := func() {
				for _, label := range []string{"rEAL", "ReAL", "REal", "REAl", "REAL"} {
					o.send(instance(t, label, "10.0.0.9", "x=1"))
				}
				pass(time.Second)
			}
			if before {
				forge()
			}
			real := runWith(t, hostOn(link, eth4(2)), (&prover{}).config(), service("Real"))
			pass(5 * time.Second)
			for range 60 {
				forge()
			}
			at := netip.AddrPortFrom(addr4(2), 4242)
			var latest []netip.AddrPort
			reported := map[string]bool{}
			for _, e := range n.seen() {
				reported[e.name] = e.what == "found"
				if e.name == "Real" {
					latest = e.found.Addrs
				}
			}
			require.True(t, reported["Real"], n.log())
			require.True(t, slices.Contains(latest, at))
			require.LessOrEqual(t, len(reported), 5)
			require.Len(t, n.Instances(), 1)
			n.Met("Real", at)
			forge()
			require.Equal(t, "Real", n.Instances()[0].Name)
			for _, e := range n.seen() {
				reported[e.name] = e.what == "found"
			}
			for name, shown := range reported {
				require.Equal(t, name == "Real", shown, name)
			}
			real.stop()
			pass(2 * time.Hour)
			for _, e := range n.seen() {
				reported[e.name] = e.what == "found"
			}
			for name, shown := range reported {
				require.False(t, shown, name)
			}
		})
	}
	// Conversely, it is the same instance if an answer has any other spelling.
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		o := newOutsider(t, link, 9)
		pass(time.Minute)
		o.send(reply(t, "_SD._udp.local. 4500 IN PTR Friend._sd._udp.local.", "FRIEND._sd._udp.local. 120 IN SRV 0 0 1 H.local.",
			"friend._SD._udp.local. 4500 IN TXT \"x=1\"", "h.local. 120 IN A 10.0.0.9"))
		pass(time.Second)
		require.Equal(t, "found Friend", n.log())
	})
}
