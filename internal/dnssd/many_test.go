package dnssd_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dns"
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
