package dnssd_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// extra moves the answers of a response to its additional section.
func extra(m *dns.Msg) *dns.Msg {
	m.Answer, m.Extra = nil, m.Answer
	return m
}

// RFC 6762 §8.1: while a name is probed for, a response with a record of that
// name denies it, whatever its type and section, by multicast or by unicast. A
// response with the same data as ours is no conflict; nor is one from before
// the first probe.
func TestDenial(t *testing.T) {
	const other = "a._sd._udp.local. 120 IN SRV 0 0 1 z.local."
	for _, test := range []struct {
		record  string
		unicast bool
		denied  bool
	}{
		{other, false, true},
		{other, true, true},
		{"A._SD._udp.local. 120 IN AAAA fe80::9", false, true},
		{"a.local. 120 IN A 10.0.0.9", false, true},
		{"a.local. 120 IN TXT \"x\"", false, true},
		{"a._sd._udp.local. 120 IN SRV 0 0 4242 A.local.", false, false},
		{"a.local. 120 IN A 10.0.0.1", false, false},
		{"a.local. 120 IN NSEC a.local. A", false, false},
		{"a._sd._udp.local. 0 IN SRV 0 0 1 z.local.", false, false},
		{"b.local. 120 IN A 10.0.0.9", false, false},
	} {
		for _, section := range []func(*dns.Msg) *dns.Msg{func(m *dns.Msg) *dns.Msg { return m }, extra} {
			bubble(t, func(t *testing.T) {
				link := dnssdtest.NewLink()
				o := newOutsider(t, link, 9)
				n := run(t, hostOn(link, eth4(1)), service("a"))
				pass(300 * time.Millisecond)
				b, err := section(reply(t, test.record)).Pack()
				require.NoError(t, err)
				dst := dnssd.Groups[dnssd.IPv4]
				if test.unicast {
					dst = netip.AddrPortFrom(addr4(1), dnssd.Port)
				}
				link.Inject(b, netip.AddrPortFrom(o.addr, dnssd.Port), dst)
				pass(20 * time.Millisecond)
				_, denied := n.Conflict()
				require.Equal(t, test.denied, denied, test)
			})
		}
	}
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		o := newOutsider(t, link, 9)
		n := run(t, hostOn(link, eth4(1)), service("a"))
		pass(0)
		o.send(reply(t, other))
		pass(300 * time.Millisecond)
		// By chance, the first probe may come at once.
		if filter(messages(t, link, 1, n.start), isProbe)[0].at > 2*time.Millisecond {
			require.Empty(t, n.log())
		}
	})
}

// RFC 6762 §8.1: a denied name is tried again after 5, 10, 20 and 40 s, then
// once a minute, and taken over when no other host defends it any more. After
// that, the pauses are short again. A denied node leaves without a goodbye,
// even if it was announced before (§10.1).
func TestConflictRetries(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth4(1)), service("twin", "who=a"))
		pass(10 * time.Second)
		b := run(t, hostOn(link, eth4(2)), service("twin", "who=b"))
		pass(5 * time.Minute)
		asked := filter(messages(t, link, 2, b.start), isProbe)
		for i, pause := range []time.Duration{5, 10, 20, 40, 60, 60} {
			require.InDelta(t, pause*time.Second, asked[i+1].at-asked[i].at, float64(10*time.Millisecond))
		}
		link.Drop(func(f dnssdtest.Frame, _ netip.Addr) bool { return f.Src.Addr() == addr4(1) })
		a.stop()
		pass(62 * time.Second)
		require.Equal(t, "conflict twin, clear twin", b.log())

		o := newOutsider(t, link, 9)
		m := reply(t, "twin._sd._udp.local. 120 IN SRV 0 0 1 z.local.")
		o.send(m)
		pass(260 * time.Millisecond)
		o.send(m)
		pass(10 * time.Millisecond)
		start := time.Now()
		pass(4900 * time.Millisecond)
		require.Empty(t, filter(messages(t, link, 2, start), isProbe))
		pass(200 * time.Millisecond)
		require.NotEmpty(t, filter(messages(t, link, 2, start), isProbe))
		o.send(m)
		pass(time.Second)
		start = time.Now()
		b.stop()
		pass(5 * time.Second)
		require.Empty(t, filter(messages(t, link, 2, start), isResponse))
	})
}

// RFC 6762 §9: other data for a name and type that we have announced makes us
// probe again within 250 ms; until that has succeeded, we send nothing, not
// even records that were about to be sent (§8.1).
func TestProbeAgain(t *testing.T) {
	for record, again := range map[string]bool{
		"A._SD._udp.local. 120 IN SRV 0 0 1 z.local.":    true,
		"a._sd._udp.local. 4500 IN TXT \"x=2\"":          true,
		"a.local. 120 IN A 10.0.0.9":                     true,
		"a._sd._udp.local. 120 IN SRV 0 0 4242 A.local.": false,
		"a.local. 120 IN A 10.0.0.1":                     false,
		"a._sd._udp.local. 120 IN A 10.0.0.9":            false,
		"a.local. 120 IN NSEC a.local. A":                false,
		"a._sd._udp.local. 0 IN SRV 0 0 1 z.local.":      false,
		"_sd._udp.local. 4500 IN PTR b._sd._udp.local.":  false,
	} {
		bubble(t, func(t *testing.T) {
			link, n, o := responder(t)
			start := time.Now()
			o.send(query("_sd._udp.local. PTR"))
			pass(5 * time.Millisecond)
			o.send(reply(t, record))
			pass(260 * time.Millisecond)
			said := messages(t, link, 1, start)
			_, conflict := n.Conflict()
			require.Equal(t, again, conflict, record)
			require.Equal(t, again, len(filter(said, isProbe)) > 0, record)
			require.Equal(t, !again, len(filter(said, isResponse)) > 0, record)
			if again {
				pass(time.Second)
				said = messages(t, link, 1, start)
				first := filter(said, isResponse)[0]
				require.Equal(t, 750*time.Millisecond, first.at-filter(said, isProbe)[0].at)
				require.Equal(t, []string{"A", "AAAA", "PTR", "PTR", "SRV", "TXT"}, types(first.Answer))
				require.Equal(t, "conflict a, clear a", n.log())
			}
		})
	}
}

// RFC 6762 §8.2: the node that proposes the lexicographically earlier records
// waits a second and probes again, and announces itself if the other one is
// gone; the other node goes on. The host's records decide only if the
// instance's do not.
func TestTieBreakPause(t *testing.T) {
	const empty = "A._sd._udp.local. 4500 IN TXT \"\""
	srv := func(port int) string { return fmt.Sprint("a._SD._udp.local. 120 IN SRV 0 0 ", port, " a.local.") }
	for _, test := range []struct {
		proposed []string
		waits    bool
	}{
		{[]string{srv(5000), empty}, true},
		{[]string{srv(4000), empty}, false},
		{[]string{empty}, false},
		{[]string{srv(4242), empty}, false},
		{[]string{"a.local. 120 IN A 10.0.0.9"}, true},
		{[]string{"a.local. 120 IN A 10.0.0.0"}, false},
		{[]string{srv(4242), empty, "a.local. 120 IN A 10.0.0.9"}, true},
		{[]string{srv(4000), empty, "a.local. 120 IN A 10.0.0.9"}, false},
		{[]string{srv(5000), empty, "a.local. 120 IN A 10.0.0.0"}, true},
		{[]string{"b.local. 120 IN A 10.0.0.9"}, false},
	} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			o := newOutsider(t, link, 9)
			n := run(t, hostOn(link, eth4(1)), service("a"))
			pass(300 * time.Millisecond)
			probe := query("a._sd._udp.local. ANY QU", "a.local. ANY QU")
			probe.Ns = parse(t, test.proposed...)
			o.send(probe)
			pass(1500 * time.Millisecond)
			var last, next time.Duration // before and after the other's probe
			for _, m := range filter(messages(t, link, 1, n.start), isProbe) {
				if m.at <= 301*time.Millisecond {
					last = m.at
				} else if next == 0 {
					next = m.at
				}
			}
			if test.waits {
				require.Equal(t, 1301*time.Millisecond, next, test)
			} else {
				require.Equal(t, last+250*time.Millisecond, next, test)
			}
			pass(time.Second)
			require.NotEmpty(t, filter(messages(t, link, 1, n.start), isResponse))
			require.Empty(t, n.log())
		})
	}
}

// RFC 6762 §8.1, §9: a name may be in use on one link and free on another,
// where it is announced. The program is told of the conflict until it is over
// on every link, or the link or its address is gone.
func TestConflictOnOneLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		one, two := dnssdtest.NewLink(), dnssdtest.NewLink()
		run(t, hostOn(one, eth4(9)), service("twin", "who=other"))
		pass(10 * time.Second)
		h := hostOn(one, eth4(1))
		h.Plug(two, dnssd.Interface{Index: 3, Name: "eth1", Up: true, Multicast: true, Addrs: []netip.Prefix{netip.MustParsePrefix("172.16.0.1/24")}})
		n := run(t, h, service("twin"))
		pass(10 * time.Second)
		require.Equal(t, "conflict twin", n.log())
		require.Empty(t, filter(messages(t, one, 1, n.start), isResponse))
		require.NotEmpty(t, filter(messages(t, two, 0, n.start), isResponse))
		h.Unplug(2)
		pass(5 * time.Second)
		require.Equal(t, "conflict twin, clear twin", n.log())
	})
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		run(t, hostOn(link, eth(9)), service("twin", "who=other"))
		pass(10 * time.Second)
		only6 := service("twin")
		only6.IPv4 = false
		n := run(t, hostOn(link, eth(1)), only6)
		pass(10 * time.Second)
		require.Equal(t, "conflict twin", n.log())
		n.host.Change(eth4(1))
		pass(5 * time.Second)
		require.Equal(t, "conflict twin, clear twin", n.log())
	})
}
