package mdns

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// A dualEar is an ear for both families; its IPv6 address comes and goes.
type dualEar struct {
	ear
	ipv6 chan bool
}

func (e dualEar) Run(ctx context.Context, s *p2p.Scope) error {
	go func() {
		any6 := netip.AddrPortFrom(netip.IPv6Unspecified(), 7373)
		for {
			select {
			case <-ctx.Done():
				return
			case on := <-e.ipv6:
				if on {
					s.AddAddr(any6)
				} else {
					s.RemoveAddr(any6)
				}
			}
		}
	}()
	return e.ear.Run(ctx, s)
}

// A peer whose addresses are all of a family that none of this node's listeners
// has is not available, and the log says why; nor is a peer whose announcements
// do not name an identity. The peer is available while a listener has the
// family.
func TestNoWayToThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		both := dualEar{ipv6: make(chan bool)}
		n := joinAs(t, link, dnssd.Interface{
			Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fe80::1/64")},
		}, both, p2p.Config{}, Config{})
		pass(10 * time.Second)
		id := identity.New().Remote()
		say := func(label string) {
			m := announcement(t, label, "AAAA", "fe80::9")
			link.Inject(m, netip.MustParseAddrPort("[fe80::9]:5353"), dnssd.Groups[dnssd.IPv6])
			pass(2 * time.Second)
		}
		say(id.String())
		say(strings.Repeat("A", 43))
		require.Empty(t, n.Peers())
		require.Equal(t, 1, n.logged("no address that this node can dial"))
		require.Equal(t, 1, n.logged("fe80::9%eth0"))

		both.ipv6 <- true
		pass(time.Second)
		require.Len(t, n.Peers(), 1)
		require.Equal(t, "direct [fe80::9%eth0]:4242", n.Peers()[0].Info().Candidates[0].String())
		both.ipv6 <- false
		pass(time.Second)
		require.Empty(t, n.Peers())
		require.Equal(t, 2, n.logged("no address that this node can dial"))
		say(id.String())
		require.Equal(t, 2, n.logged("no address that this node can dial"), "logged once each time that it becomes unavailable")

		for range 100 {
			say(identity.New().Remote().String())
		}
		require.Equal(t, maxSaid, n.logged("no address that this node can dial"))
		require.Empty(t, n.Peers())
	})
}

// An IPv6 link-local address heard on an interface without IPv6 does not count.
func TestLinkLocalWithoutIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		both := dualEar{ipv6: make(chan bool)}
		n := joinAs(t, link, dnssd.Interface{
			Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true, Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
		}, both, p2p.Config{}, Config{})
		both.ipv6 <- true
		pass(10 * time.Second)
		id := identity.New().Remote()
		link.Inject(announcement(t, id.String(), "AAAA", "fe80::9"), netip.MustParseAddrPort("10.0.0.9:5353"), dnssd.Groups[dnssd.IPv4])
		pass(5 * time.Second)
		require.Empty(t, n.Peers())
		require.Equal(t, 1, n.logged("no address that this node can dial"))
		link.Inject(announcement(t, id.String(), "A", "10.0.0.9"), netip.MustParseAddrPort("10.0.0.9:5353"), dnssd.Groups[dnssd.IPv4])
		pass(5 * time.Second)
		require.Len(t, n.Peers(), 1)
		require.Len(t, n.Peers()[0].Info().Candidates, 1)
	})
}

// A node of the first implementation sends its packet over IPv6 first, with
// only a link-local address. It is available, with a candidate, once its packet
// over IPv4 has arrived.
func TestReplayIPv6First(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		r := readRecordedPackets(t)
		both := dualEar{ipv6: make(chan bool)}
		n := joinAs(t, link, dnssd.Interface{
			Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24"), netip.MustParsePrefix("fe80::2/64")},
		}, both, p2p.Config{}, Config{})
		both.ipv6 <- true
		pass(time.Minute)
		over6 := new(dns.Msg)
		require.NoError(t, over6.Unpack(unhex(t, r.Announcement)))
		for i, rr := range over6.Answer {
			if a, ok := rr.(*dns.A); ok {
				h := a.Hdr
				h.Rrtype = dns.TypeAAAA
				over6.Answer[i] = &dns.AAAA{Hdr: h, AAAA: netip.MustParseAddr("fe80::77:1").AsSlice()}
			}
		}
		b, err := over6.Pack()
		require.NoError(t, err)
		link.Inject(b, netip.MustParseAddrPort("[fe80::77:1]:5353"), dnssd.Groups[dnssd.IPv6])
		pass(500 * time.Millisecond)
		require.Zero(t, count[p2p.PeerAvailable](n))
		link.Inject(unhex(t, r.Announcement), netip.AddrPortFrom(rustAddr, dnssd.Port), dnssd.Groups[dnssd.IPv4])
		pass(100 * time.Millisecond)
		require.Equal(t, 1, count[p2p.PeerAvailable](n))
		candidates := n.Peers()[0].Info().Candidates
		require.Len(t, candidates, 2)
		require.Equal(t, rustAddr, candidates[0].Addr.Addr())
		require.Equal(t, "fe80::77:1%eth0", candidates[1].Addr.Addr().String())
	})
}

// announcement returns a packet that announces an instance with one address.
func announcement(t *testing.T, label, typ, addr string) []byte {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true}
	for _, text := range []string{
		"_sd._udp.local. 4500 IN PTR " + label + "._sd._udp.local.", label + "._sd._udp.local. 120 IN SRV 0 0 4242 peer-" + label[:8] + ".local.",
		label + "._sd._udp.local. 4500 IN TXT \"\"", "peer-" + label[:8] + ".local. 120 IN " + typ + " " + addr,
	} {
		rr, err := dns.NewRR(text)
		require.NoError(t, err)
		m.Answer = append(m.Answer, rr)
	}
	b, err := m.Pack()
	require.NoError(t, err)
	return b
}
