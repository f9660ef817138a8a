package dnssd_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
	"github.com/sdp2p/p2p/internal/soak"
)

// lose has a node, alone with an outsider, find an instance of the outsider and
// lose it. It returns the time of the loss.
func lose(t *testing.T, link *dnssdtest.Link) (*node, *outsider, time.Time) {
	n := runWith(t, hostOn(link, eth4(1)), dnssd.Config{})
	o := newOutsider(t, link, 2)
	pass(5 * time.Minute)
	o.send(instance(t, "peer", "10.0.0.2", "x=1"))
	pass(120 * time.Second)
	require.Len(t, n.Instances(), 1)
	pass(2 * time.Millisecond)
	require.Equal(t, "found peer, lost peer", n.log())
	return n, o, time.Now()
}

// afterQuestion lets time pass until a second after a question for the lost
// peer: the next one is not due yet.
func afterQuestion(t *testing.T, link *dnssdtest.Link) {
	start := time.Now()
	for len(filter(messages(t, link, 1, time.Now().Add(-time.Second)), asksForName("peer"))) == 0 {
		pass(500 * time.Millisecond)
		require.Less(t, time.Since(start), 10*time.Minute, "it is not asked for")
	}
	pass(time.Second)
}

// A peer whose records expired without a goodbye is asked for by name: after 1,
// 2, 4 and 8 s, then every 8 s, after ten minutes every minute, after an hour
// every 8 minutes, and after a day no more. Intervals are shorter by up to an
// eighth.
func TestMissing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		_, _, lost := lose(t, link)
		pass(48 * time.Hour)
		asked := filter(messages(t, link, 1, lost), asksForName("peer"))
		var last time.Duration
		for i, m := range asked {
			require.Len(t, m.Question, 2)
			require.Equal(t, dns.TypeTXT, m.Question[1].Qtype)
			wait := time.Second << min(i, 3)
			if last >= time.Hour {
				wait = 8 * time.Minute
			} else if last >= 10*time.Minute {
				wait = time.Minute
			}
			const batch = 20 * time.Millisecond
			require.LessOrEqual(t, m.at-last, wait+batch, m.at)
			require.GreaterOrEqual(t, m.at-last, wait*7/8-batch, m.at)
			last = m.at
		}
		require.Greater(t, last, 24*time.Hour-8*time.Minute)
		require.Less(t, last, 24*time.Hour)
	})
}

// So is a peer that has only link-local addresses.
func TestMissingLinkLocal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth(1)))
		o := newOutsider(t, link, 2)
		pass(5 * time.Minute)
		m := instance(t, "peer", "10.0.0.2", "x=1")
		m.Answer = append(m.Answer[:3], parse(t, "peer.local. 120 IN AAAA fe80::2")...)
		o.send(m)
		pass(122 * time.Second)
		require.Equal(t, "found peer, lost peer", n.log())
		start := time.Now()
		pass(time.Minute)
		require.NotEmpty(t, filter(messages(t, link, 1, start), asksForName("peer")))
	})
}

// The answer need not contain a PTR record: missing records are asked for.
func TestMissingAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n, o, _ := lose(t, link)
		pass(time.Minute)
		afterQuestion(t, link)
		start := time.Now()
		o.send(reply(t, "peer._sd._udp.local. 120 IN SRV 0 0 4242 peer.local."))
		pass(150 * time.Millisecond)
		require.Len(t, filter(messages(t, link, 1, start), asksFor(dns.TypeTXT)), 1)
		require.Len(t, filter(messages(t, link, 1, start), asksFor(dns.TypeA)), 1)
		o.send(reply(t, "peer._sd._udp.local. 4500 IN TXT \"x=2\"", "peer.local. 120 IN A 10.0.0.7"))
		pass(10 * time.Millisecond)
		require.Equal(t, "found peer, lost peer, found peer", n.log())
		require.Equal(t, []string{"x=2"}, n.Instances()[0].TXT, "the TXT record is the current one")
		require.Equal(t, "[10.0.0.7:4242]", sprint(n.Instances()[0].Addrs))
		pass(90 * time.Second)
		require.Empty(t, filter(messages(t, link, 1, start.Add(time.Second)), asksForName("peer")))
		pass(20 * time.Second)
		require.NotEmpty(t, filter(messages(t, link, 1, start.Add(time.Minute)), asksFor(dns.TypePTR)))
	})
	// An instance that never becomes complete again is missing, too.
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		o := newOutsider(t, link, 2)
		pass(time.Minute)
		o.send(instance(t, "peer", "10.0.0.2", "x=1"))
		pass(time.Second)
		o.send(reply(t, "peer._sd._udp.local. 0 IN TXT \"x=1\""))
		pass(40 * time.Second)
		require.Equal(t, "found peer, lost peer", n.log())
		start := time.Now()
		pass(time.Minute)
		require.NotEmpty(t, filter(messages(t, link, 1, start), asksForName("peer")))
	})
	// If the other records do not come either, the instance stays missing.
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n, o, _ := lose(t, link)
		pass(time.Minute)
		o.send(reply(t, "peer._sd._udp.local. 1 IN SRV 0 0 4242 peer.local."))
		o.send(reply(t, "_sd._udp.local. 4500 IN PTR other._sd._udp.local.", "other._sd._udp.local. 120 IN SRV 0 0 1 o.local."))
		pass(time.Minute)
		start := time.Now()
		pass(time.Minute)
		require.Greater(t, len(filter(messages(t, link, 1, start), asksForName("peer"))), 6)
		require.Empty(t, filter(messages(t, link, 1, start), asksForName("other")), "an instance that was never known is not missing")
		require.Empty(t, n.Instances())
		o.send(instance(t, "peer", "10.0.0.2", "x=1"))
		pass(time.Second)
		require.Len(t, n.Instances(), 1)
	})
}

// A peer that sent a goodbye is not missing, nor is one that was known in
// another network.
func TestNotMissing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth(1)))
		nodes := peers(t, link, 2, 3, time.Second)
		o := newOutsider(t, link, 9)
		o.send(instance(t, "peer", "10.0.0.9", "x=1"))
		pass(20 * time.Minute)
		nodes[0].stop()
		o.send(reply(t, "_sd._udp.local. 4500 IN PTR peer._sd._udp.local.")) // no longer missing
		o.send(instance(t, "peer", "10.0.0.9", "x=1"))
		pass(2 * time.Second)
		require.Len(t, n.Instances(), 3)
		o.send(reply(t, "_sd._udp.local. 0 IN PTR peer._sd._udp.local."))
		pass(10 * time.Second)
		require.Len(t, n.Instances(), 2)
		start := time.Now()
		pass(time.Hour)
		require.Empty(t, filter(messages(t, link, 0, start), asksForName("peer2")))
		require.Empty(t, filter(messages(t, link, 1, start), asksForName("peer")))
	})
	// The peer was withdrawn, but answers in another way.
	bubble(t, func(t *testing.T) {
		p := &prover{at: map[string]netip.AddrPort{"peer": netip.AddrPortFrom(addr4(2), 4242)}, connected: map[string]bool{"peer": true}}
		link := dnssdtest.NewLink()
		n := runWith(t, hostOn(link, eth4(1)), p.config())
		o := newOutsider(t, link, 2)
		pass(5 * time.Minute)
		o.send(instance(t, "peer", "10.0.0.2", "x=1"))
		pass(time.Minute)
		o.send(forged(t, n, "peer", forgedGoodbyes["goodbye of all"][1:]))
		pass(5 * time.Second)
		require.Len(t, n.Instances(), 1)
		pass(10 * time.Second)
		require.Equal(t, "lost", n.seen()[len(n.seen())-1].what)
		start := time.Now()
		pass(time.Hour)
		require.Empty(t, filter(messages(t, link, 1, start), asksForName("peer")))
	})
	bubble(t, func(t *testing.T) {
		link, elsewhere := dnssdtest.NewLink(), dnssdtest.NewLink()
		n, _, _ := lose(t, link)
		pass(time.Minute)
		afterQuestion(t, link)
		moved := eth4(1)
		moved.Addrs = []netip.Prefix{netip.MustParsePrefix("192.168.7.9/24")}
		n.host.Plug(elsewhere, moved)
		pass(time.Hour)
		require.NotEmpty(t, elsewhere.Frames())
		require.Empty(t, filter(messages(t, elsewhere, 0, time.Time{}), asksForName("peer")))
	})
}

// A missing peer is asked for as soon as a packet from its address arrives; if
// that leads to nothing, less and less often.
func TestMissingHeard(t *testing.T) {
	for _, say := range []func(o *outsider){
		func(o *outsider) { o.send(query("_ipp._tcp.local. PTR")) },
		func(o *outsider) { o.sendFrom(999, query("_ipp._tcp.local. PTR")) },
		func(o *outsider) { o.send(reply(o.t, "_ipp._tcp.local. 4500 IN PTR printer._ipp._tcp.local.")) },
	} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			_, o, _ := lose(t, link)
			pass(50*time.Minute + 30*time.Second)
			afterQuestion(t, link)
			start := time.Now()
			pass(4 * time.Second)
			say(o)
			pass(150 * time.Millisecond)
			require.Len(t, filter(messages(t, link, 1, start), asksForName("peer")), 1)
		})
	}
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n, o, _ := lose(t, link)
		other := newOutsider(t, link, 3)
		pass(50 * time.Minute)
		asks := func(since time.Time) int { return len(filter(messages(t, link, 1, since), asksForName("peer"))) }
		for range 10 {
			afterQuestion(t, link)
			pass(2 * time.Second)
			start := time.Now()
			other.send(query("_ipp._tcp.local. PTR"))
			pass(150 * time.Millisecond)
			require.Zero(t, asks(start), "from another address")
			for range 50 {
				o.send(query("_ipp._tcp.local. PTR"))
				pass(time.Second)
			}
		}
		start := time.Now()
		for range 600 {
			o.send(query("_ipp._tcp.local. PTR"))
			pass(time.Second)
		}
		require.LessOrEqual(t, asks(start), 12, "no more often than otherwise")
		require.Empty(t, n.Instances())
	})
}

// Whatever arrives, from however many addresses, questions take at most a
// packet a second.
func TestMissingGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		run(t, hostOn(link, eth4(1)))
		pass(time.Minute)
		for i := range 6 {
			forge(t, link, "peer", i, addr4(1000+i))
		}
		pass(30 * time.Minute)
		start := time.Now()
		asks := func(since time.Time) []message { return filter(messages(t, link, 1, since), asksFor(dns.TypeSRV)) }
		for len(asks(time.Now().Add(-time.Second))) == 0 {
			pass(500 * time.Millisecond)
			require.Less(t, time.Since(start), 10*time.Minute)
		}
		pass(5 * time.Second)
		start = time.Now()
		b, err := query("_ipp._tcp.local. PTR").Pack()
		require.NoError(t, err)
		for i := range 6 {
			link.Inject(b, netip.AddrPortFrom(addr4(1000+i), dnssd.Port), dnssd.Groups[dnssd.IPv4])
			pass(200 * time.Millisecond)
		}
		asked := asks(start)
		require.Len(t, asked, 2)
		require.Greater(t, asked[1].at-asked[0].at, 980*time.Millisecond)
		pass(10 * time.Second)
		var names []string
		for _, m := range asks(start) {
			for _, q := range m.Question {
				if q.Qtype == dns.TypeSRV {
					names = append(names, q.Name[:9])
				}
			}
		}
		require.Subset(t, names, []string{"peer00000", "peer00001", "peer00002", "peer00003", "peer00004", "peer00005"})
	})
}

// Nodes that miss the same peer ask for it together: the cost does not depend
// on their number, and ends when the peer is back.
func TestMissingShared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		nodes := peers(t, link, 1, soak.N(6, 10), rand.N(time.Second))
		pass(time.Hour)
		gone, rest := nodes[0], nodes[1:]
		link.Cut(gone.host)
		for len(rest[0].Instances()) > len(rest)-1 {
			pass(time.Second)
		}
		link.Forget()
		asks := func(d time.Duration) int {
			start := time.Now()
			pass(d)
			asked := filter(messages(t, link, 0, start), asksForName("peer1"))
			return len(filter(asked, func(m message) bool { return m.Src.Addr() != addr4(1) }))
		}
		for _, phase := range []struct {
			lasts time.Duration
			most  int
		}{{10 * time.Minute, 120}, {50 * time.Minute, 90}, {2 * time.Hour, 30}} {
			n := asks(phase.lasts)
			t.Logf("%d nodes miss one: they ask for it %d times in %v", len(rest), n, phase.lasts)
			require.LessOrEqual(t, n, phase.most)
			require.NotZero(t, n)
		}
		link.Cut()
		pass(10 * time.Minute)
		require.Less(t, together(time.Second, nodes...), time.Second)
		require.Less(t, asks(time.Hour), 60, "as for every other")
	})
}

// A question from another host replaces ours; but not for ever.
func TestMissingAskedByOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		_, _, _ = lose(t, link)
		other := newOutsider(t, link, 3)
		pass(9 * time.Second)
		start := time.Now()
		for range 60 {
			other.send(query("Peer._sd._udp.local. SRV"))
			pass(5 * time.Second)
		}
		asked := filter(messages(t, link, 1, start), asksForName("peer"))
		require.LessOrEqual(t, len(asked), 5, "of 40")
		require.GreaterOrEqual(t, len(asked), 4)
	})
	// A question from the owner itself, or one that asks for a unicast answer,
	// does not.
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		_, o, _ := lose(t, link)
		other := newOutsider(t, link, 3)
		pass(9 * time.Second)
		start := time.Now()
		for range 60 {
			o.send(query("Peer._sd._udp.local. SRV"))
			other.send(query("Peer._sd._udp.local. SRV QU"))
			pass(5 * time.Second)
		}
		require.Greater(t, len(filter(messages(t, link, 1, start), asksForName("peer"))), 36)
	})
}

// If too many are missing to be asked for by name in one packet, they are asked
// for by a question for all instances, in one packet even if many others are
// known.
func TestMissingAmongMany(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		pass(time.Second)
		for i := range 330 {
			m := instance(t, fmt.Sprintf("%043d", i), "10.0.0.66", "x=1")
			for _, rr := range m.Answer {
				if i < 300 {
					rr.Header().Ttl = 4500
				}
			}
			b, err := m.Pack()
			require.NoError(t, err)
			link.Inject(b, netip.AddrPortFrom(addr4(1000+i), dnssd.Port), dnssd.Groups[dnssd.IPv4])
			pass(50 * time.Millisecond)
		}
		pass(3 * time.Minute)
		require.Len(t, n.Instances(), 300)
		start := time.Now()
		pass(3 * time.Minute)
		asked := messages(t, link, 1, start)
		browsing := 3 * 17 // packets, if all known answers are listed; at most three times
		require.LessOrEqual(t, len(asked), 3*60/7+2+browsing)
		brief := filter(asked, func(m message) bool { return asksFor(dns.TypePTR)(m) && !m.Truncated })
		require.GreaterOrEqual(t, len(brief), 20)
		for _, m := range asked {
			require.LessOrEqual(t, len(m.Data), 1472)
		}
	})
}

// Forged peers that go missing as fast as they are made, and packets from their
// claimed addresses, make us send no more than a packet every seven seconds; a
// peer that was known for longer is not forgotten because of them.
func TestMissingFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n, o, _ := lose(t, link)
		forged := func(i int) *dns.Msg {
			m := instance(t, fmt.Sprint("forged", i), "10.0.0.66", "x=1")
			for _, rr := range m.Answer {
				rr.Header().Ttl = 2
			}
			return m
		}
		inject := func(m *dns.Msg, i int) {
			b, err := m.Pack()
			require.NoError(t, err)
			link.Inject(b, netip.AddrPortFrom(addr4(1000+i%200), dnssd.Port), dnssd.Groups[dnssd.IPv4])
		}
		for i := range 200 { // the first ones, from a full bucket
			inject(forged(i), i)
			pass(500 * time.Millisecond)
		}
		link.Forget()
		before := sent(n)
		for i := range 1200 {
			inject(forged(i), i)
			inject(query("_ipp._tcp.local. PTR"), i+100)
			pass(500 * time.Millisecond)
		}
		packets := sent(n).Packets - before.Packets
		t.Logf("%d packets in 10 minutes", packets)
		require.Less(t, packets, uint64(110))
		require.Positive(t, strings.Count(n.log(), "found forged"))
		pass(30 * time.Minute)
		o.send(reply(t, "peer._sd._udp.local. 120 IN SRV 0 0 4242 peer.local.", "peer._sd._udp.local. 120 IN TXT \"\"", "peer.local. 120 IN A 10.0.0.2"))
		pass(time.Second)
		require.Len(t, n.Instances(), 1)
	})
}

// Instances in Config.Keep are missed the longest.
func TestMissingKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := runWith(t, hostOn(link, eth4(1)), dnssd.Config{Keep: func(name string) bool { return name == "friend" }})
		o := newOutsider(t, link, 2)
		pass(5 * time.Second)
		for i := range 80 {
			forge(t, link, "peer", i, addr4(1000+i))
			pass(100 * time.Millisecond)
		}
		pass(40 * time.Second)
		o.send(instance(t, "friend", "10.0.0.2", "x=1"))
		pass(150 * time.Second)
		require.Empty(t, n.Instances())
		back := func(label string) bool {
			o.send(reply(t, label+"._sd._udp.local. 120 IN SRV 0 0 4242 peer.local.", label+"._sd._udp.local. 120 IN TXT \"\"", "peer.local. 120 IN A 10.0.0.2"))
			pass(time.Second)
			return len(n.Instances()) > 0
		}
		require.True(t, back("friend"))
		pass(5 * time.Minute)
		known := 0
		for i := range 80 {
			forged := len(n.Instances())
			back(fmt.Sprintf("peer%05d", i))
			known += len(n.Instances()) - forged
		}
		require.Equal(t, 63, known, "64 are missed, the friend among them")
	})
}
