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

func asksFor(typ uint16) func(m message) bool {
	return func(m message) bool {
		for _, q := range m.Question {
			if q.Qtype == typ {
				return isQuery(m)
			}
		}
		return false
	}
}

// RFC 6762 §5.2: browsing asks after 20 to 120 ms, then after 1, 2, 4 s … 60
// min, for multicast answers. Each interval is twice as long as the one before,
// up to an hour, or shorter by up to an eighth.
func TestBrowseSchedule(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		start := time.Now()
		run(t, hostOn(link, eth4(1)))
		pass(10 * time.Hour)
		asked := messages(t, link, 1, start)
		require.Less(t, asked[0].at, 120*time.Millisecond)
		require.GreaterOrEqual(t, asked[0].at, 20*time.Millisecond)
		wait := asked[1].at - asked[0].at
		require.GreaterOrEqual(t, wait, time.Second)
		require.Less(t, wait, 1125*time.Millisecond)
		for i, m := range asked {
			require.Equal(t, []dns.Question{{Name: "_sd._udp.local.", Qtype: dns.TypePTR, Qclass: dns.ClassINET}}, m.Question)
			require.Zero(t, m.Id)
			if i > 0 && i <= 12 {
				require.Equal(t, wait, m.at-asked[i-1].at)
				wait *= 2
			} else if i > 0 {
				require.GreaterOrEqual(t, m.at-asked[i-1].at, 52*time.Minute)
				require.LessOrEqual(t, m.at-asked[i-1].at, time.Hour)
			}
		}
		require.GreaterOrEqual(t, len(asked), 13+8)
		require.LessOrEqual(t, len(asked), 13+10)
	})
}

// RFC 6762 §5.2: the delay of the first question is random. So is the first
// interval, and with it all others: two nodes that started together do not stay
// in step.
func TestBrowseStart(t *testing.T) {
	var delays, intervals []time.Duration
	for range 30 {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			n := run(t, hostOn(link, eth4(1)))
			pass(1300 * time.Millisecond)
			asked := messages(t, link, 1, n.start)
			delays = append(delays, asked[0].at)
			intervals = append(intervals, asked[1].at-asked[0].at)
		})
	}
	require.Less(t, slices.Min(intervals), 1060*time.Millisecond)
	require.Greater(t, slices.Max(intervals), 1060*time.Millisecond)
	require.Less(t, slices.Min(delays), 70*time.Millisecond)
	require.Greater(t, slices.Max(delays), 70*time.Millisecond)
}

// RFC 6762 §7.1: browsing lists the known instances whose records have at least
// half of their time left, so that these need not answer.
func TestBrowseKnownAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		start := time.Now()
		for i := range 5 {
			run(t, hostOn(link, eth4(i+2)), service(fmt.Sprint("peer", i)))
		}
		pass(10 * time.Second)
		run(t, hostOn(link, eth4(1)))
		pass(30 * time.Second)
		asked := filter(messages(t, link, 1, start), asksFor(dns.TypePTR))
		require.Empty(t, asked[0].Answer)
		for _, m := range asked[1:] {
			require.Equal(t, []string{"PTR", "PTR", "PTR", "PTR", "PTR"}, types(m.Answer))
			for _, rr := range m.Answer {
				require.Greater(t, rr.Header().Ttl, uint32(4400))
				require.EqualValues(t, dns.ClassINET, rr.Header().Class)
			}
		}
		// Only the first question was answered.
		late := filter(messages(t, link, 0, start), func(m message) bool {
			return m.Time.Sub(start) > 12*time.Second && records([]message{m}, dns.TypePTR) > 0 && m.Response
		})
		require.Empty(t, late)
	})
}

// RFC 6762 §7.3: a question that another host has just asked is not repeated,
// unless that host listed known answers that we do not have.
func TestDuplicateQuestionSuppression(t *testing.T) {
	for _, test := range []struct {
		name  string
		from  int // a host; an instance of host 2 is known
		known string
		qu    string
		tc    bool
		asked int
	}{
		{"same question", 2, "", "", false, 0},
		{"same question, of a host that may have an answer", 3, "", "", false, 1},
		{"known answer that we have, too", 2, "_SD._udp.local. 4500 IN PTR Friend._sd._udp.local.", "", false, 0},
		{"known answer that we do not have", 2, "_sd._udp.local. 4500 IN PTR other._sd._udp.local.", "", false, 1},
		{"more known answers to come", 2, "", "", true, 1},
		{"for unicast answers", 2, "", " QU", false, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				link := dnssdtest.NewLink()
				o, asker := newOutsider(t, link, 2), newOutsider(t, link, test.from)
				n := run(t, hostOn(link, eth4(1)))
				pass(10 * time.Millisecond)
				o.send(instance(t, "friend", "10.0.0.2", "x=1"))
				pass(690 * time.Millisecond)
				start := time.Now()
				q := query("_Sd._udp.local. PTR" + test.qu)
				q.Truncated = test.tc
				if test.known != "" {
					q.Answer = parse(t, test.known)
				}
				asker.send(q)
				pass(600 * time.Millisecond)
				require.Len(t, messages(t, link, 1, start), test.asked)
				pass(3 * time.Second)
				require.NotEmpty(t, messages(t, link, 1, start.Add(time.Second)), "later questions must be asked")
				require.Equal(t, "found friend", n.log())
			})
		})
	}
	// The asking host may have two instances, one of which is not known here.
	for _, both := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			o := newOutsider(t, link, 2)
			n := run(t, hostOn(link, eth4(1)))
			pass(time.Minute)
			o.send(instance(t, "missing", "10.0.0.2", "x=1"))
			pass(2 * time.Minute)
			if both {
				o.send(instance(t, "missing", "10.0.0.2", "x=1"))
			}
			o.send(instance(t, "known", "10.0.0.2", "x=1"))
			asks := func() int {
				return len(filter(messages(t, link, 1, time.Now().Add(-500*time.Millisecond)), asksFor(dns.TypePTR)))
			}
			asked := 0
			for time.Since(n.start) < 10*time.Minute {
				o.send(query("_sd._udp.local. PTR"))
				pass(500 * time.Millisecond)
				if time.Since(n.start) > 4*time.Minute {
					asked += asks()
				}
				if both {
					o.send(instance(t, "missing", "10.0.0.2", "x=1"))
				}
				o.send(instance(t, "known", "10.0.0.2", "x=1"))
			}
			require.Equal(t, both, asked == 0, "at 256 s and 512 s")
		})
	}
	// A query that came by unicast was not heard by other hosts.
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		o := newOutsider(t, link, 2)
		run(t, hostOn(link, eth4(1)))
		pass(700 * time.Millisecond)
		start := time.Now()
		b, err := query("_sd._udp.local. PTR").Pack()
		require.NoError(t, err)
		link.Inject(b, netip.AddrPortFrom(o.addr, dnssd.Port), netip.AddrPortFrom(addr4(1), dnssd.Port))
		pass(600 * time.Millisecond)
		require.Len(t, messages(t, link, 1, start), 1)
	})
	// The same holds for a refresh.
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		o, third := newOutsider(t, link, 2), newOutsider(t, link, 3)
		run(t, hostOn(link, eth4(1)))
		pass(time.Minute)
		o.send(instance(t, "Peer", "10.0.0.2", "x=1"))
		start := time.Now()
		pass(95 * time.Second)
		for range 10 {
			third.send(query("peer._SD._udp.local. SRV", "peer.local. A"))
			o.send(query("_sd._udp.local. PTR"))
			pass(500 * time.Millisecond)
		}
		require.Empty(t, filter(messages(t, link, 1, start), asksFor(dns.TypeSRV)))
		pass(5 * time.Second)
		require.Len(t, filter(messages(t, link, 1, start), asksFor(dns.TypeSRV)), 1, "the next refresh")
	})
	// A host does not answer its own question.
	for _, q := range []string{"peer._SD._udp.local. SRV", "PEER.local. A"} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			o := newOutsider(t, link, 2)
			run(t, hostOn(link, eth4(1)))
			pass(time.Minute)
			o.send(instance(t, "Peer", "10.0.0.2", "x=1"))
			start := time.Now()
			pass(95 * time.Second)
			for range 10 {
				o.send(query(q))
				pass(500 * time.Millisecond)
			}
			asked := filter(messages(t, link, 1, start), asksFor(dns.TypeSRV))
			require.Len(t, asked, 1)
			require.Len(t, asked[0].Question, 2)
		})
	}
}

// This is the figure for idle traffic: 10 nodes that know each other send at
// most 3 packets a minute each after 10 minutes.
func TestIdleTraffic(t *testing.T) {
	for _, peers := range []int{1, 2, 10, 50}[:soak.N(3, 4)] {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			var nodes []*node
			for i := range peers {
				nodes = append(nodes, run(t, hostOn(link, eth(i+1)), service(fmt.Sprint("peer", i), "name=Somebody's laptop", "operating_system=linux", "version=0.0.1")))
			}
			pass(10 * time.Minute)
			sum := func() (packets, bytes uint64) {
				for _, n := range nodes {
					sent := n.Stats().Sent
					for _, c := range []dnssd.Count{sent.Probes, sent.Announcements, sent.Queries, sent.Responses, sent.Goodbyes, sent.Legacy} {
						packets += c.Packets
						bytes += c.Bytes
					}
				}
				return
			}
			packets, bytes := sum()
			minutes := 60
			if peers > 2 {
				minutes = 10 // the busiest ones; make bench measures an hour
			}
			pass(time.Duration(minutes) * time.Minute)
			p, b := sum()
			perNode := float64(p-packets) / float64(minutes*peers)
			t.Logf("%d nodes: %.2f packets and %.0f bytes a minute a node, sent", peers, perNode, float64(b-bytes)/float64(minutes*peers))
			require.LessOrEqual(t, perNode, 3.0)
			for _, n := range nodes {
				require.Len(t, n.seen(), peers-1, n.log())
			}
		})
	}
}
