package dnssd_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
	"github.com/sdp2p/p2p/internal/soak"
)

// falseClaims returns messages of a host that uses the name of "a" without
// having its key.
func falseClaims(t testing.TB, host string) map[string]*dns.Msg {
	probe := query("a._sd._udp.local. ANY QU", host+" ANY QU")
	probe.Ns = parse(t, "a._sd._udp.local. 120 IN SRV 9 9 9999 zz.local.", "zz.local. 120 IN A 10.0.0.9")
	return map[string]*dns.Msg{
		"SRV":           reply(t, "a._sd._udp.local. 120 IN SRV 0 0 1 zz.local."),
		"SRV, address":  reply(t, "A._SD._udp.local. 120 IN SRV 0 0 1 zz.local.", "zz.local. 120 IN A 10.0.0.9"),
		"TXT":           reply(t, "a._sd._udp.local. 4500 IN TXT \"x=2\""),
		"address":       reply(t, host+" 120 IN A 10.0.0.9"),
		"won tie-break": probe,
	}
}

// A host claims the name of a node without holding its key, while the node
// starts or later. It neither keeps the node from being found and answering,
// nor makes the node report that its key is used twice.
func TestFalseClaims(t *testing.T) {
	for _, early := range []bool{false, true} {
		for why := range falseClaims(t, "x.local.") {
			t.Run(fmt.Sprintf("%s, early %t", why, early), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					link := dnssdtest.NewLink()
					var p, q prover
					at := netip.AddrPortFrom(addr4(1), 4242)
					q.at = map[string]netip.AddrPort{"a": at}
					other := runWith(t, hostOn(link, eth4(2)), q.config())
					o := newOutsider(t, link, 9)
					pass(time.Minute)
					n := runWith(t, hostOn(link, eth4(1)), p.config(), service("a"))
					if early {
						pass(10 * time.Millisecond)
					} else {
						pass(time.Minute)
					}
					host := "a.local."
					if len(other.Instances()) > 0 {
						host = other.Instances()[0].Targets[0].Host
					}
					start := time.Now()
					for i := range soak.N(200, 600) {
						o.send(falseClaims(t, host)[why])
						pass(100 * time.Millisecond)
						if i == 30 {
							require.Contains(t, names(other), "a", "found within 3 s")
						}
					}
					require.Empty(t, n.log())
					_, conflict := n.Conflict()
					require.False(t, conflict)
					found := start
					if early {
						found = start.Add(3 * time.Second)
					}
					require.Zero(t, other.away(found, "a", at), other.log())
					o.take()
					for range 10 { // the node answers all the time
						o.send(falseClaims(t, host)[why])
						o.send(query("a._sd._udp.local. SRV"))
						pass(1100 * time.Millisecond)
						require.True(t, slices.ContainsFunc(o.take(), func(m message) bool { return m.Src.Addr() == addr4(1) }))
					}
					if early || why != "won tie-break" { // an announced node ignores this
						require.NotEmpty(t, p.addrs)
					}
					for _, a := range p.addrs {
						require.Equal(t, addr4(9), a.Addr())
					}
					require.LessOrEqual(t, len(p.addrs), 6, "a host without proof must not be asked again for a while")
					sent := n.Stats().Sent
					require.Less(t, sent.Announcements.Packets+sent.Probes.Packets, uint64(40))
				})
			})
		}
	}
}

// If the other host does hold the key, the rules for conflicts of RFC 6762
// §8.1, §8.2 and §9 apply.
func TestProvedClaims(t *testing.T) {
	twins := func(t *testing.T) (link *dnssdtest.Link, configs [2]dnssd.Config, services [2]dnssd.Service) {
		link = dnssdtest.NewLink()
		for i := range configs {
			p := &prover{at: map[string]netip.AddrPort{"twin": netip.AddrPortFrom(addr4(2-i), uint16(4002-i))}}
			configs[i] = p.config()
			services[i] = service("twin")
			services[i].Port = uint16(4001 + i)
		}
		return link, configs, services
	}
	t.Run("later", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			link, cfg, s := twins(t)
			a := runWith(t, hostOn(link, eth4(1)), cfg[0], s[0])
			c := runWith(t, hostOn(link, eth4(3)), new(prover).config())
			pass(10 * time.Second)
			b := runWith(t, hostOn(link, eth4(2)), cfg[1], s[1])
			pass(time.Hour)
			other, ok := b.Conflict()
			require.True(t, ok)
			require.Equal(t, addr4(1), other)
			require.Equal(t, "conflict twin", b.log())
			require.Empty(t, a.log())
			require.Equal(t, "found twin", c.log())
			require.Empty(t, filter(messages(t, link, 2, b.start), isResponse))
			a.stop()
			pass(5 * time.Second)
			require.Equal(t, "conflict twin, clear twin", b.log())
			require.Equal(t, []netip.AddrPort{netip.AddrPortFrom(addr4(2), 4002)}, c.Instances()[0].Addrs)
		})
	})
	t.Run("at the same time", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			link, cfg, s := twins(t)
			a := runWith(t, hostOn(link, eth4(1)), cfg[0], s[0])
			b := runWith(t, hostOn(link, eth4(2)), cfg[1], s[1])
			pass(10 * time.Second)
			require.Equal(t, "conflict twin", a.log())
			require.Empty(t, b.log())
		})
	})
	t.Run("joined", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			link, cfg, s := twins(t)
			left := addr4(1)
			link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool { return (f.Src.Addr() == left) != (to == left) })
			a := runWith(t, hostOn(link, eth4(1)), cfg[0], s[0])
			b := runWith(t, hostOn(link, eth4(2)), cfg[1], s[1])
			pass(10 * time.Second)
			link.Drop(nil)
			s[0].TXT = []string{"changed=1"}
			require.NoError(t, a.Publish(s[0]))
			pass(10 * time.Second)
			_, deniedA := a.Conflict()
			_, deniedB := b.Conflict()
			require.NotEqual(t, deniedA, deniedB)
			pass(10 * time.Minute)
			require.LessOrEqual(t, len(a.seen())+len(b.seen()), 4, "%s; %s: no flapping", a.log(), b.log())
		})
	})
}

// A claim is challenged at the addresses in its records, if they are on the
// link, and nowhere else: missing records are asked for. If it is unknown who
// holds a key, claims count.
func TestChallenges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		var p prover
		n := runWith(t, hostOn(link, eth4(1)), p.config(), service("a"))
		o := newOutsider(t, link, 9)
		pass(time.Minute)
		asked := func() []netip.AddrPort {
			pass(2 * time.Second)
			p.mu.Lock()
			defer p.mu.Unlock()
			list := p.addrs
			p.addrs = nil
			return list
		}
		port := func(n int, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr4(n), port) }
		start := time.Now()
		o.send(reply(t, "a._sd._udp.local. 120 IN SRV 0 0 77 zz.local."))
		require.Equal(t, []netip.AddrPort{port(9, 77)}, asked(), "the source is challenged")
		require.NotEmpty(t, filter(messages(t, link, 1, start), asksFor(dns.TypeA)))
		o.send(reply(t, "zz.local. 120 IN A 10.0.0.8", "zz.local. 120 IN A 8.8.8.8", "zz.local. 120 IN A 224.0.0.9"))
		require.Equal(t, []netip.AddrPort{port(8, 77)}, asked())
		pass(time.Minute)
		start = time.Now()
		o.send(reply(t, "a._sd._udp.local. 4500 IN TXT \"x=1\""))
		require.Equal(t, []netip.AddrPort{port(9, 4242)}, asked())
		require.NotEmpty(t, filter(messages(t, link, 1, start), asksFor(dns.TypeSRV)))
		o.send(reply(t, "a._sd._udp.local. 120 IN SRV 0 0 78 me.local.", "me.local. 120 IN A 10.0.0.1"))
		require.ElementsMatch(t, []netip.AddrPort{port(9, 78), port(1, 78)}, asked())
		pass(time.Minute)
		o.send(reply(t, "a._sd._udp.local. 120 IN SRV 0 0 4242 me.local.", "me.local. 120 IN A 10.0.0.1"))
		require.Equal(t, []netip.AddrPort{port(9, 4242)}, asked(), "this host is not challenged")
		pass(time.Minute)
		for i := range 1000 { // a flood of claims, for 10 s
			o.send(reply(t, fmt.Sprintf("a._sd._udp.local. 120 IN SRV 0 0 %d zz.local.", 100+i), "zz.local. 120 IN A 10.0.0.8"))
			pass(10 * time.Millisecond)
		}
		require.LessOrEqual(t, len(asked()), 10*8)
		require.Empty(t, n.log())
	})
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := runWith(t, hostOn(link, eth4(1)), dnssd.Config{
			Probe: func(_ string, _ []netip.AddrPort, answered func(netip.AddrPort, error)) {
				answered(netip.AddrPort{}, fmt.Errorf("test: %w", dnssd.ErrNoProbe))
			},
		}, service("a"))
		o := newOutsider(t, link, 9)
		pass(time.Minute)
		o.send(reply(t, "a._sd._udp.local. 120 IN SRV 0 0 1 zz.local."))
		pass(300 * time.Millisecond)
		other, ok := n.Conflict()
		require.True(t, ok)
		require.Equal(t, o.addr, other)
	})
}

// A host that sends the same records as a node is about to send does not keep
// the node from sending them.
func TestAnswersOfOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		run(t, hostOn(link, eth4(1)), service("x"))
		runWith(t, hostOn(link, eth4(2)), new(prover).config(), service("a"))
		o := newOutsider(t, link, 9)
		pass(time.Minute)
		o.take()
		for range 20 {
			o.send(query("_sd._udp.local. PTR"))
			o.send(reply(t, "_sd._udp.local. 4500 IN PTR a._sd._udp.local."))
			pass(2 * time.Second)
			require.True(t, slices.ContainsFunc(o.take(), func(m message) bool { return m.Src.Addr() == addr4(2) }))
		}
	})
}
