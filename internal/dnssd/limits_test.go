package dnssd_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
	"github.com/sdp2p/p2p/internal/soak"
)

// forge multicasts the announcement of a forged instance, the n-th of a kind
// that is named by four letters, from any source.
func forge(t testing.TB, l *dnssdtest.Link, kind string, n int, src netip.Addr) {
	b := bytes.ReplaceAll(forgery(), []byte("kind00000"), fmt.Appendf(nil, "%s%05d", kind, n))
	l.Inject(b, netip.AddrPortFrom(src, dnssd.Port), dnssd.Groups[dnssd.IPv4])
}

// forgery returns the announcement of "kind00000", uncompressed.
var forgery = sync.OnceValue(func() []byte {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
	for _, r := range []string{
		"_sd._udp.local. 4500 IN PTR kind00000._sd._udp.local.",
		"kind00000._sd._udp.local. 120 IN SRV 0 0 4242 kind00000.local.",
		"kind00000._sd._udp.local. 4500 IN TXT \"x=1\"",
		"kind00000.local. 120 IN A 10.0.0.66",
	} {
		rr, err := dns.NewRR(r)
		if err != nil {
			panic(err)
		}
		if rr.Header().Rrtype != dns.TypePTR {
			rr.Header().Class |= 1 << 15
		}
		m.Answer = append(m.Answer, rr)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
})

// crowd puts many hosts on a link: each announces an instance when its type is
// asked for and it is not listed as known.
func crowd(t testing.TB, l *dnssdtest.Link, hosts int) {
	crowdFrom(t, l, hosts, func(i int) netip.Addr { return addr4(1000 + i) })
}

func crowdFrom(t testing.TB, l *dnssdtest.Link, hosts int, source func(i int) netip.Addr) {
	conn, err := hostOn(l, eth4(9)).Open(dnssd.IPv4, func(p dnssd.Packet) {
		var m dns.Msg
		if m.Unpack(p.Data) != nil || m.Response {
			return
		}
		for _, q := range m.Question {
			var i int
			if _, err := fmt.Sscanf(q.Name, "peer%05d.", &i); err == nil && q.Qtype != dns.TypeAAAA {
				forge(t, l, "peer", i, source(i))
			}
		}
		if len(m.Question) == 0 || m.Question[0].Qtype != dns.TypePTR {
			return
		}
		known := map[string]bool{}
		for _, rr := range m.Answer {
			if ptr, ok := rr.(*dns.PTR); ok {
				known[ptr.Ptr] = true
			}
		}
		for i := range hosts {
			if !known[fmt.Sprintf("peer%05d._sd._udp.local.", i)] {
				forge(t, l, "peer", i, source(i))
			}
		}
	}, func(error) {})
	require.NoError(t, err)
	require.NoError(t, conn.Join(eth4(9)))
	t.Cleanup(func() { conn.Close() })
}

func addr4(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
}

// One source address can announce a limited number of instances; any beyond
// that do not keep others out.
func TestPerSourceLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := runWith(t, hostOn(link, eth4(1)), dnssd.Config{MaxPerSource: 16})
		pass(time.Second)
		for i := range 5000 {
			forge(t, link, "junk", i, addr4(66))
			if i%50 == 0 {
				pass(time.Millisecond)
			}
		}
		run(t, hostOn(link, eth4(2)), service("real"))
		pass(1200 * time.Millisecond)
		require.Len(t, n.Instances(), 17)
		require.Contains(t, names(n), "real")
		require.EqualValues(t, 5000-16, n.Stats().Refused)
	})
	bubble(t, func(t *testing.T) { // half of the table, unless configured otherwise
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		for i := range 3000 {
			forge(t, link, "junk", i, addr4(66))
			pass(20 * time.Millisecond)
		}
		require.Len(t, n.Instances(), 512)
	})
}

// behindRepeater puts hosts behind a repeater: all of their packets come from
// one address.
func behindRepeater(t testing.TB, l *dnssdtest.Link, hosts int, from netip.Addr) {
	crowdFrom(t, l, hosts, func(int) netip.Addr { return from })
}

// 300 devices behind a repeater are known some seconds after a node has
// started, even during a flood. A flood from many sources that fills the table
// displaces none of them, and does not keep others from being found.
func TestCrowdBehindRepeater(t *testing.T) {
	crowded := func(n *node) (c int) {
		for _, name := range names(n) {
			if strings.HasPrefix(name, "peer") {
				c++
			}
		}
		return c
	}
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		behindRepeater(t, link, 300, addr4(40))
		n := run(t, hostOn(link, eth4(1)))
		pass(10 * time.Second)
		require.Equal(t, 300, crowded(n))
		pass(5 * time.Minute)
		require.Equal(t, 300, crowded(n))
		for i := range 7500 { // for a minute
			forge(t, link, "junk", i, addr4(1000+i%32))
			pass(8 * time.Millisecond)
			link.Forget()
		}
		require.Len(t, n.Instances(), 1024)
		require.Equal(t, 300, crowded(n))
		require.NotContains(t, n.log(), "lost peer")
		run(t, hostOn(link, eth4(2)), service("real"))
		for i := range 500 {
			forge(t, link, "more", i, addr4(1000+i%32))
			pass(4 * time.Millisecond)
		}
		require.Contains(t, names(n), "real")
	})
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		flood := func(seconds int) {
			for i := range 125 * seconds {
				forge(t, link, "junk", i, addr4(66))
				pass(8 * time.Millisecond)
				link.Forget()
			}
		}
		n := run(t, hostOn(link, eth4(1)))
		flood(10)
		behindRepeater(t, link, 300, addr4(40))
		flood(40)
		require.Equal(t, 300, crowded(n))
	})
}

// Half of the simultaneous admissions are reserved for sources that have
// announced nothing yet.
func TestAdmissionReserve(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := runWith(t, hostOn(link, eth4(1)), dnssd.Config{MaxNewPerSecond: 1})
		pass(5 * time.Second)
		for i := range 10 {
			forge(t, link, "junk", i, addr4(66))
		}
		forge(t, link, "real", 0, addr4(67))
		pass(100 * time.Millisecond)
		require.Equal(t, []string{"junk00000", "junk00001", "junk00002", "junk00003", "real00000"}, names(n))
	})
}

// A limited number of new instances is admitted in a second, 50 unless
// configured otherwise, and eight times as many at once; those that were
// refused are asked for again, so that a large network is known a few seconds
// later.
func TestAdmissionRate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		crowd(t, link, 450)
		n := runWith(t, hostOn(link, eth4(1)), dnssd.Config{MaxNewPerSecond: 20})
		pass(300 * time.Millisecond)
		require.GreaterOrEqual(t, len(n.Instances()), 160)
		require.LessOrEqual(t, len(n.Instances()), 166)
		pass(time.Minute)
		require.Len(t, n.Instances(), 450)

		n = run(t, hostOn(link, eth4(2)))
		pass(300 * time.Millisecond)
		require.GreaterOrEqual(t, len(n.Instances()), 400)
		require.Less(t, len(n.Instances()), 450)
	})
}

// A full table makes room: first, instances that were never complete go, then
// the oldest one of the source with the most instances; those in Config.Keep
// stay.
func TestTableLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := runWith(t, hostOn(link, eth4(1)), dnssd.Config{
			MaxInstances: 10,
			Keep:         func(name string) bool { return name == "friend" },
		})
		run(t, hostOn(link, eth4(2)), service("friend"))
		run(t, hostOn(link, eth4(3)), service("stranger"))
		pass(5 * time.Second)
		o := newOutsider(t, link, 67)
		o.send(reply(t, "_sd._udp.local. 4500 IN PTR ghost._sd._udp.local."))
		for i := range 40 {
			forge(t, link, "junk", i, addr4(70+i))
			pass(30 * time.Millisecond)
		}
		require.Len(t, n.Instances(), 10)
		require.Contains(t, names(n), "friend")
		require.NotContains(t, n.log(), "lost friend")
	})
}

// A full table displaces incomplete instances first, and then the oldest one of
// the source that has announced the most.
func TestEviction(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := runWith(t, hostOn(link, eth4(1)), dnssd.Config{MaxInstances: 5})
		o := newOutsider(t, link, 60)
		pass(10 * time.Second)
		announce := func(i, source int) {
			forge(t, link, "kind", i, addr4(source))
			pass(200 * time.Millisecond)
		}
		announce(1, 70)
		announce(2, 71)
		announce(3, 71)
		announce(4, 72)
		o.send(reply(t, "_sd._udp.local. 4500 IN PTR ghost._sd._udp.local."))
		pass(200 * time.Millisecond)
		announce(5, 73)
		require.Equal(t, []string{"kind00001", "kind00002", "kind00003", "kind00004", "kind00005"}, names(n), "ghost makes room")
		announce(6, 74)
		require.Equal(t, []string{"kind00001", "kind00003", "kind00004", "kind00005", "kind00006"}, names(n), "an instance of the source that has two makes room")
		announce(7, 75)
		require.Equal(t, []string{"kind00003", "kind00004", "kind00005", "kind00006", "kind00007"}, names(n), "the oldest makes room")
	})
}

// A flood of forged instances, from twice as many sources as fill the table,
// goes on until more were admitted than the table holds: the table stays within
// its limit, the heap within 32 MiB, and a real peer is found in less than 5 s.
func TestFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		pass(time.Second)
		heap := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		link.Forget()
		before := heap()
		for i := range soak.N(12_500, 100_000) {
			forge(t, link, "junk", i, addr4(1000+i%128))
			if i%5 == 0 {
				pass(10 * time.Millisecond)
				link.Forget()
			}
		}
		pass(time.Second)
		require.Equal(t, 1024, len(n.Instances()))
		after := heap()
		require.Less(t, int64(after)-int64(before), int64(32<<20))
		real := run(t, hostOn(link, eth4(2)), service("real"))
		for i := range 500 {
			forge(t, link, "more", i, addr4(1000+i%128))
			pass(5 * time.Millisecond)
		}
		require.True(t, slices.Contains(names(n), "real"))
		require.Less(t, len(real.Instances()), 1025)
	})
}

// A link-local prefix, like other networks, has any number of sources: a flood
// from ever new ones does not keep out instances that are heard over IPv4 from
// the interface's own network.
func TestFloodOfCountlessSources(t *testing.T) {
	for family, source := range []func(i int) netip.Addr{
		func(i int) netip.Addr { return netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}) },
		func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fe80::77:%x", i+1)) },
	} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			n := run(t, hostOn(link, eth(1)))
			pass(time.Second)
			run(t, hostOn(link, eth4(2)), service("real"))
			for i := range 1000 {
				b, err := instance(t, fmt.Sprint("junk", i), "10.0.0.66", "x=1").Pack()
				require.NoError(t, err)
				link.Inject(b, netip.AddrPortFrom(source(i), 5353), dnssd.Groups[family])
				pass(5 * time.Millisecond)
			}
			require.Contains(t, names(n), "real")
			require.Positive(t, n.Stats().Refused)
		})
	}
}

// RFC 6762 §11: packets to this host alone are dropped if their source is not
// on the link, or is a loopback address. So are unsolicited unicast responses
// (§6), responses from other ports, and packets with an opcode or a response
// code (§18).
func TestSpoofs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth(1)), service("a"))
		o := newOutsider(t, link, 9)
		pass(5 * time.Minute)
		o.take()
		m := instance(t, "spoof", "10.0.0.66", "x=1")
		b, err := m.Pack()
		require.NoError(t, err)
		group := dnssd.Groups[dnssd.IPv4]
		link.Inject(b, netip.MustParseAddrPort("8.8.8.8:5353"), netip.AddrPortFrom(addr4(1), 5353))
		link.Inject(b, netip.MustParseAddrPort("127.0.0.1:5353"), group)
		link.Inject(b, netip.MustParseAddrPort("[2001:db8::1]:5353"), netip.MustParseAddrPort("[fe80::1]:5353"))
		link.Inject(b, netip.AddrPortFrom(addr4(66), 5354), group)
		link.Inject(b, netip.AddrPortFrom(addr4(66), 5353), netip.AddrPortFrom(addr4(1), 5353))
		for _, damage := range []func(m *dns.Msg){
			func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus },
			func(m *dns.Msg) { m.Rcode = dns.RcodeNameError },
		} {
			bad := m.Copy()
			damage(bad)
			o.send(bad)
			q := query("a._sd._udp.local. SRV")
			damage(q)
			o.send(q)
		}
		pass(5 * time.Second)
		require.Empty(t, n.log())
		require.Empty(t, filter(o.take(), func(m message) bool { return m.Src.Addr() == addr4(1) }))
		require.EqualValues(t, 3, n.Stats().OffLink)
		require.EqualValues(t, 6, n.Stats().Malformed)
		o.send(m)
		pass(time.Second)
		require.Equal(t, "found spoof", n.log())
		// A packet to the group is from the link, whatever the prefixes are.
		link.Inject(forgery(), netip.MustParseAddrPort("192.168.7.7:5353"), group)
		pass(time.Second)
		require.Equal(t, "found spoof, found kind00000", n.log())
	})
}

// An instance has a limited number of records, whatever is announced.
func TestRecordLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth(1)))
		o := newOutsider(t, link, 9)
		pass(time.Second)
		o.send(instance(t, "p", "10.0.0.9", "x=1"))
		for i := range 40 {
			m := reply(t, fmt.Sprintf("p._sd._udp.local. 120 IN SRV 0 0 %d p.local.", 5000+i), fmt.Sprintf("p.local. 120 IN A 10.0.2.%d", i))
			for _, rr := range m.Answer {
				rr.Header().Class &^= 1 << 15
			}
			o.send(m)
		}
		big := reply(t, "p._sd._udp.local. 4500 IN TXT \"y=2\"")
		for range 129 {
			big.Answer[0].(*dns.TXT).Txt = append(big.Answer[0].(*dns.TXT).Txt, "z")
		}
		o.send(big)
		pass(time.Second)
		got := n.Instances()[0]
		require.Len(t, got.Targets, 4)
		require.Len(t, got.Addrs, 16)
		require.Equal(t, []string{"x=1"}, got.TXT, "130 strings are refused")
		big.Answer[0].(*dns.TXT).Txt = slices.Repeat([]string{strings.Repeat("z", 255)}, 34)
		o.send(big)
		pass(time.Second)
		require.Equal(t, []string{"x=1"}, n.Instances()[0].TXT, "more than 8 KiB are refused")

		// No record lives longer than 75 min.
		m := instance(t, "forever", "10.0.0.9", "x=1")
		for _, rr := range m.Answer {
			rr.Header().Ttl = 1 << 30
		}
		o.send(m)
		pass(4499 * time.Second)
		require.Equal(t, []string{"forever"}, names(n))
		pass(2 * time.Second)
		require.Empty(t, n.Instances())
	})
}
