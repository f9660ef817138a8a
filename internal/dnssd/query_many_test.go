package dnssd_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
	"github.com/sdp2p/p2p/internal/soak"
)

// Among many nodes, one asks for all, and the others do not, although their
// known answers take several packets.
func TestManyAskOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes := soak.N(60, 200)
		link := dnssdtest.NewLink()
		var all []*node
		for i := range nodes {
			all = append(all, run(t, hostOn(link, eth4(1+i)), service(fmt.Sprintf("instance-%02d-of-many-with-a-name-of-forty-bytes", i))))
		}
		pass(2 * time.Second)
		for _, n := range all {
			require.Len(t, n.Instances(), nodes-1)
		}
		queries := func() (n int) {
			for _, node := range all {
				n += int(node.Stats().Sent.Queries.Packets)
			}
			return n
		}
		before := queries()
		t.Log(float64(before) / float64(nodes))
		require.Less(t, before, 2*nodes, "each lists all that it knows, in several packets")
		pass(2 * time.Minute)
		t.Log(float64(queries()-before) / float64(nodes))
		require.Less(t, queries()-before, 10*nodes, "each node on its own would need more than 20 packets")
		for _, n := range all {
			require.Len(t, n.Instances(), nodes-1)
		}
		last := run(t, hostOn(link, eth4(1000)), service("late"))
		pass(2 * time.Second)
		require.Len(t, last.Instances(), nodes)
	})
}

// More nodes start together than a node admits at once: the limit holds, each
// node knows all others as soon as the limit allows, and the nodes send hardly
// more than without the limit. Without SDP2P_SOAK, both the limit and the number
// of nodes are a tenth.
func TestManyAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		nodes, perSecond := soak.N(50, 500), soak.N(5, 50)
		link := dnssdtest.NewLink()
		var all []*node
		for i := range nodes {
			all = append(all, runWith(t, hostOn(link, eth4(1+i)), dnssd.Config{MaxNewPerSecond: perSecond},
				service(fmt.Sprintf("instance-%03d-of-many-with-a-name-of-forty-bytes", i))))
		}
		pass(time.Second) // all are announced
		for _, n := range all {
			require.GreaterOrEqual(t, len(n.Instances()), 8*perSecond)
			require.LessOrEqual(t, len(n.Instances()), 9*perSecond)
		}
		for wait := 1; wait <= 60; wait *= 2 {
			link.Forget() // how much is sent matters, not what
			pass(time.Duration(wait) * time.Second)
			if wait < 2 {
				continue
			}
			for _, n := range all {
				require.Len(t, n.Instances(), nodes-1, "the rest takes two seconds")
			}
		}
		var queries, responses, bytes uint64
		for _, n := range all {
			sent := n.Stats().Sent
			queries += sent.Queries.Packets
			responses += sent.Responses.Packets
			bytes += sent.Queries.Bytes + sent.Probes.Bytes + sent.Announcements.Bytes + sent.Responses.Bytes
			require.Zero(t, n.Stats().Refused)
		}
		t.Log("a node has sent", float64(queries)/float64(nodes), "queries,", bytes/uint64(nodes), "bytes")
		require.Less(t, queries, uint64(2*nodes), "each lists all that it knows, in several packets")
		require.Less(t, responses, uint64(nodes/4), "all that one question did not list")
		require.Less(t, bytes, uint64(10_000*nodes))
	})
}

// During a flood of a thousand forged instances a minute from 200 sources, all
// at once or one after the other, a node still soon knows 500 others, and loses
// none of them.
func TestManyInFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const peers = 500
		link := dnssdtest.NewLink()
		crowd(t, link, peers)
		forged := 0
		flood := func(count int, every time.Duration) {
			for range count {
				forge(t, link, "junk", forged, addr4(2000+forged%200))
				forged++
				pass(every)
				link.Forget()
			}
		}
		known := func(n *node) (count int) {
			for _, name := range names(n) {
				if strings.HasPrefix(name, "peer") {
					count++
				}
			}
			return count
		}
		n := run(t, hostOn(link, eth4(1)))
		flood(70, time.Minute/1000)
		require.Equal(t, peers, known(n), "in four seconds")
		flood(1000, time.Minute/1000)
		flood(1000, 0)
		late := run(t, hostOn(link, eth4(2)))
		flood(1000, time.Millisecond/10)
		pass(200 * time.Millisecond)
		require.LessOrEqual(t, len(late.Instances()), 9*50, "in 300 ms")
		flood(70, time.Minute/1000)
		flood(1000, time.Minute/1000)
		for _, n := range []*node{n, late} {
			require.Equal(t, peers, known(n))
			require.LessOrEqual(t, len(n.Instances()), 1024)
			require.NotContains(t, n.log(), "lost peer")
		}
	})
}

// If all nodes refuse instances at the same moment, because their announcements
// cannot wait, only one node, or a few, ask for them again.
func TestManyRefuse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const nodes, perSecond = 45, 5
		link := dnssdtest.NewLink()
		var all []*node
		for i := range nodes {
			all = append(all, runWith(t, hostOn(link, eth4(1+i)), dnssd.Config{MaxNewPerSecond: perSecond}, service(fmt.Sprint("instance", i))))
		}
		pass(20 * time.Second)
		start := time.Now()
		for i := range 9 * perSecond {
			m := instance(t, fmt.Sprint("large", i), "10.0.0.2", strings.Repeat("x", 250))
			txt := m.Answer[2].(*dns.TXT)
			txt.Txt = slices.Repeat(txt.Txt, 6) // 1506 bytes
			b, err := m.Pack()
			require.NoError(t, err)
			link.Inject(b, netip.AddrPortFrom(addr4(1000+i), 5353), dnssd.Groups[dnssd.IPv4])
		}
		pass(2500 * time.Millisecond)
		for _, n := range all {
			require.Len(t, n.Instances(), nodes-1+8*perSecond)
			require.Positive(t, n.Stats().Refused)
		}
		asked := len(filter(messages(t, link, 0, start), asksFor(dns.TypePTR)))
		require.Positive(t, asked)
		require.Less(t, asked, nodes/4, "each on its own")
	})
}

// A question whose later packets list answers that this node does not know is
// asked here all the same.
func TestManyHidden(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			o := newOutsider(t, link, 2)
			n := run(t, hostOn(link, eth4(1)))
			pass(10 * time.Millisecond)
			for i := range 45 {
				o.send(instance(t, fmt.Sprint("friend", i), netip.AddrFrom4([4]byte{10, 0, 0, 2}).String(), "x=1"))
				pass(10 * time.Millisecond)
			}
			require.Len(t, n.Instances(), 45)
			next := 700*time.Millisecond - 460*time.Millisecond
			pass(next)
			start := time.Now()
			q := query("_sd._udp.local. PTR")
			q.Truncated = true
			q.Answer = parse(t, "_sd._udp.local. 4500 IN PTR friend1._sd._udp.local.")
			o.send(q)
			more := query()
			more.Answer = parse(t, "_sd._udp.local. 4500 IN PTR friend2._sd._udp.local.")
			if hidden {
				more.Answer = parse(t, "_sd._udp.local. 4500 IN PTR stranger._sd._udp.local.")
			}
			o.send(more)
			pass(900 * time.Millisecond)
			asked := len(messages(t, link, 1, start)) > 0
			require.Equal(t, hidden, asked)
		})
	}
}

// RFC 6762 §7.2: known answers that do not fit in a packet continue in further
// ones; all packets but the last have the TC bit.
func TestManyKnownAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := run(t, hostOn(link, eth4(1)))
		o := newOutsider(t, link, 2)
		pass(500 * time.Millisecond)
		for i := range 200 {
			m := instance(t, fmt.Sprintf("peer-with-a-rather-long-name-%03d", i), "10.0.1.1", "x=1")
			b, err := m.Pack()
			require.NoError(t, err)
			o.link.Inject(b, netip.AddrPortFrom(eth4(256 + i).Addrs[0].Addr(), 5353), dnssd.Groups[dnssd.IPv4])
			pass(30 * time.Millisecond)
		}
		require.Len(t, n.Instances(), 200)
		start := time.Now()
		pass(7 * time.Second) // one round
		asked := filter(messages(t, link, 1, start), func(m message) bool { return records([]message{m}, dns.TypePTR) > 0 })
		require.Greater(t, len(asked), 2)
		total := 0
		for i, m := range asked {
			require.LessOrEqual(t, len(m.Data), 1472)
			require.Equal(t, i < len(asked)-1, m.Truncated)
			require.Equal(t, i == 0, len(m.Question) == 1)
			total += len(m.Answer)
		}
		require.Equal(t, 200, total)
	})
}
