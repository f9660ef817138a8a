package dnssd_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// say6 multicasts a message over IPv6.
func (o *outsider) say6(m *dns.Msg) {
	o.t.Helper()
	b, err := m.Pack()
	require.NoError(o.t, err)
	o.link.Inject(b, netip.MustParseAddrPort("[fe80::9]:5353"), dnssd.Groups[dnssd.IPv6])
}

// at6 announces an instance at a link-local address.
func at6(t *testing.T, more ...string) *dns.Msg {
	return reply(t, append([]string{"_sd._udp.local. 4500 IN PTR p._sd._udp.local.", "p._sd._udp.local. 120 IN SRV 0 0 4242 p.local.",
		"p._sd._udp.local. 4500 IN TXT \"x=1\"", "p.local. 120 IN AAAA fe80::9"}, more...)...)
}

// An instance of which only an IPv6 link-local address is known is not reported
// until another address comes, until it states that there is none, or until a
// second has passed without an answer.
func TestLinkLocalFirst(t *testing.T) {
	for _, test := range []struct {
		name   string
		first  []string // more records in the packet over IPv6
		second string   // 300 ms later, over IPv4
		found  time.Duration
		addrs  string
		asks   int
	}{
		{"another packet", nil, "p.local. 120 IN A 10.0.0.9", 300 * time.Millisecond, "[10.0.0.9:4242]", 1},
		{"a global address", nil, "p.local. 120 IN AAAA 2001:db8::9", 300 * time.Millisecond, "[]", 1},
		{"in the same packet", []string{"p.local. 120 IN A 10.0.0.9"}, "", 0, "[10.0.0.9:4242]", 0},
		{"no answer", nil, "", 1120 * time.Millisecond, "[]", 1},
		{"denied", []string{"p.local. 120 IN NSEC p.local. AAAA"}, "", 0, "[]", 0},
		{"denied later", nil, "p.local. 120 IN NSEC p.local. AAAA", 300 * time.Millisecond, "[]", 1},
		{"not denied", []string{"p.local. 120 IN NSEC p.local. A AAAA"}, "", 1120 * time.Millisecond, "[]", 1},
		{"denied of another host", []string{"q.local. 120 IN NSEC q.local. AAAA"}, "", 1120 * time.Millisecond, "[]", 1},
	} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			n := run(t, hostOn(link, eth(1)))
			o := newOutsider(t, link, 9)
			pass(time.Minute)
			start := time.Now()
			o.say6(at6(t, test.first...))
			pass(300 * time.Millisecond)
			if test.second != "" {
				require.Empty(t, n.log(), test.name)
				o.send(reply(t, test.second))
			}
			pass(time.Minute)
			require.Equal(t, "found p", n.log(), test.name)
			require.InDelta(t, test.found, n.seen()[0].at-start.Sub(n.start), float64(105*time.Millisecond), test.name)
			require.Equal(t, test.addrs, sprint(n.instance("p").Addrs), test.name)
			require.Equal(t, "[[fe80::9%eth0]:4242]", sprint(n.instance("p").LinkLocal), test.name)
			require.Len(t, filter(messages(t, link, 1, start), func(m message) bool { return asksFor(dns.TypeA)(m) && m.at < 2*time.Second }), test.asks, test.name)
		})
	}
}

// An instance that was reported stays when its other addresses go; and two
// nodes that have only link-local addresses do not wait.
func TestLinkLocalOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth(1)))
		o := newOutsider(t, link, 9)
		pass(time.Minute)
		o.say6(at6(t, "p.local. 120 IN A 10.0.0.9"))
		pass(10 * time.Second)
		o.send(reply(t, "p.local. 0 IN A 10.0.0.9"))
		pass(time.Minute)
		require.Equal(t, "found p, found p", n.log())
		require.Empty(t, n.instance("p").Addrs)
	})
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		one, two := eth(1), eth(2)
		one.Addrs, two.Addrs = one.Addrs[1:], two.Addrs[1:]
		a := run(t, hostOn(link, one), service("a"))
		pass(5 * time.Second)
		b := run(t, hostOn(link, two), service("b"))
		pass(1200 * time.Millisecond)
		require.Equal(t, "found b", a.log())
		require.Equal(t, "found a", b.log())
		require.Less(t, b.seen()[0].at, 300*time.Millisecond)
	})
}
