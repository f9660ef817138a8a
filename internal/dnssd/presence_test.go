package dnssd_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
	"github.com/sdp2p/p2p/internal/soak"
)

// promise is the time after the end of an outage within which all nodes see
// each other again.
const promise = 10 * time.Second

// peers starts nodes one after another on the hosts of a link, beginning with
// the first one.
func peers(t *testing.T, link *dnssdtest.Link, first, n int, apart time.Duration) (list []*node) {
	for i := range n {
		list = append(list, run(t, hostOn(link, eth(first+i)), service(fmt.Sprint("peer", first+i), "name=Somebody's laptop", "version=0.0.1")))
		pass(apart)
	}
	return list
}

func hosts(nodes []*node) (list []*dnssdtest.Host) {
	for _, n := range nodes {
		list = append(list, n.host)
	}
	return list
}

// together waits until each of the nodes sees all others, and returns how long
// that took, or limit if it took longer.
func together(limit time.Duration, nodes ...*node) time.Duration {
	start := time.Now()
	for time.Since(start) < limit {
		if !slices.ContainsFunc(nodes, func(n *node) bool { return len(n.Instances()) < len(nodes)-1 }) {
			break
		}
		pass(50 * time.Millisecond)
	}
	return time.Since(start)
}

// sent counts what nodes have sent.
func sent(nodes ...*node) (c dnssd.Count) {
	for _, n := range nodes {
		s := n.Stats().Sent
		for _, k := range []dnssd.Count{s.Probes, s.Announcements, s.Queries, s.Responses, s.Goodbyes, s.Legacy} {
			c.Packets += k.Packets
			c.Bytes += k.Bytes
		}
	}
	return c
}

// asksForName reports whether a message asks for the SRV record of an instance.
func asksForName(label string) func(m message) bool {
	return func(m message) bool {
		return isQuery(m) && slices.ContainsFunc(m.Question, func(q dns.Question) bool {
			return q.Qtype == dns.TypeSRV && q.Name == label+"._sd._udp.local."
		})
	}
}

// The path between two devices is cut, which neither of them can see on its own
// interface. They see each other soon after it is restored, however long they
// were up before.
func TestCut(t *testing.T) {
	for _, uptime := range []time.Duration{2 * time.Minute, 17 * time.Minute, time.Hour, 5 * time.Hour} {
		for _, outage := range []time.Duration{30 * time.Second, 150 * time.Second, 590 * time.Second} {
			var worst time.Duration
			for range soak.N(2, 100) {
				bubble(t, func(t *testing.T) {
					link := dnssdtest.NewLink()
					nodes := peers(t, link, 1, 2, rand.N(40*time.Second))
					pass(uptime + rand.N(2*time.Minute))
					link.Cut(nodes[0].host)
					pass(outage)
					for _, n := range nodes {
						require.True(t, outage < 130*time.Second || len(n.Instances()) == 0)
					}
					link.Cut()
					// A peer whose last refresh went unanswered is lost a few
					// seconds later.
					took := max(together(promise, nodes...), 0)
					pass(20*time.Second - took)
					took = max(took, together(promise, nodes...))
					worst = max(worst, took)
				})
			}
			t.Logf("up %v, cut for %v: seen again after at most %v", uptime, outage, worst)
			require.Less(t, worst, promise)
		}
	}
}

// After ten minutes a missing peer is asked for less often, but at least once a
// minute for an hour; then, for a day, every eight minutes.
func TestLongCut(t *testing.T) {
	for _, test := range []struct{ outage, found time.Duration }{
		{20 * time.Minute, time.Minute},
		{2 * time.Hour, 8 * time.Minute},
		{20 * time.Hour, 8 * time.Minute},
	} {
		var worst time.Duration
		for range soak.N(1, 50) {
			bubble(t, func(t *testing.T) {
				link := dnssdtest.NewLink()
				nodes := peers(t, link, 1, 4, rand.N(40*time.Second))
				pass(time.Hour)
				link.Cut(hosts(nodes[:2])...)
				pass(test.outage + rand.N(10*time.Minute))
				require.Len(t, nodes[0].Instances(), 1)
				require.Len(t, nodes[3].Instances(), 1)
				link.Cut()
				worst = max(worst, together(time.Hour, nodes...))
			})
		}
		t.Logf("cut for %v: seen again after at most %v", test.outage, worst)
		require.Less(t, worst, test.found+time.Second)
	}
}

// Two devices that started within the same second ask at the same times. If one
// of them loses the other, the other's question does not replace its own.
func TestLockstep(t *testing.T) {
	for _, apart := range []time.Duration{0, 100, 300, 600, 900, 1500, 10_000} {
		apart *= time.Millisecond
		for range soak.N(2, 50) {
			bubble(t, func(t *testing.T) {
				link := dnssdtest.NewLink()
				nodes := peers(t, link, 1, 2, apart)
				if rand.N(2) == 0 {
					slices.Reverse(nodes)
				}
				pass(90*time.Minute + rand.N(2*time.Minute))
				link.Deafen(nodes[0].host)
				pass(130 * time.Second)
				require.Empty(t, nodes[0].Instances())
				link.Deafen()
				require.Less(t, together(promise, nodes...), promise, apart)
			})
		}
	}
}

// A switch that has just seen a device come up forwards nothing for 30 s. The
// device and those that were there before find each other soon after that, as
// do two that came up at the same time; even if only its own packets are lost.
func TestBlockedPort(t *testing.T) {
	for _, blocked := range []time.Duration{3 * time.Second, 15 * time.Second, 30 * time.Second, 50 * time.Second, 110 * time.Second} {
		for _, test := range []struct {
			name     string
			old, new int
		}{{"one device", 1, 1}, {"among several", 3, 1}, {"two devices", 0, 2}, {"two devices among several", 2, 2}} {
			for _, oneWay := range []bool{false, true} {
				bubble(t, func(t *testing.T) {
					link := dnssdtest.NewLink()
					nodes := peers(t, link, 1, test.old, 37*time.Second)
					pass(time.Duration(soak.N(80, 180)) * time.Minute) // by then, they browse once an hour
					var later []*dnssdtest.Host
					for i := range test.new {
						later = append(later, hostOn(link, eth(101+i)))
					}
					link.Mute(later...)
					if !oneWay {
						link.Deafen(later...)
					}
					for i, h := range later {
						nodes = append(nodes, run(t, h, service(fmt.Sprint("new", i))))
						pass(rand.N(3 * time.Second))
					}
					pass(blocked)
					link.Mute()
					link.Deafen()
					require.Less(t, together(promise, nodes...), promise, "%v %v %v", blocked, test.name, oneWay)
				})
			}
		}
	}
}

// A node that was deaf and is then mute hears the nodes that it misses, while
// its own questions are lost. The questions that it sends in that time, at
// growing intervals, do not keep it from asking like for any other missing
// peer.
func TestDeafThenMute(t *testing.T) {
	for range soak.N(5, 50) {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			nodes := peers(t, link, 1, 4, 300*time.Millisecond)
			odd := nodes[2].host
			pass(273 * time.Second)
			link.Deafen(odd)
			pass(174 * time.Second)
			require.Empty(t, nodes[2].Instances())
			link.Deafen()
			pass(time.Second)
			link.Mute(odd)
			pass(210 * time.Second) // the others browse meanwhile, and answer
			link.Deafen(hosts(nodes[:3])...)
			pass(1100 * time.Millisecond)
			link.Deafen()
			link.Mute()
			require.Less(t, together(promise, nodes...), promise)
		})
	}
}

// Whatever nodes are cut off, deaf or mute, one after another or at the same
// time, all see each other soon after everything works again.
func TestOutages(t *testing.T) {
	type episode struct {
		kind   int
		nodes  int // a bit for each node
		pause  time.Duration
		lasts  time.Duration
		repeat bool // whether the next one begins before this one ends
	}
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		require.NoError(t, f.Value.Set(strconv.Itoa(soak.N(30, 300))))
		defer f.Value.Set(f.DefValue)
	}
	rapid.Check(t, func(rt *rapid.T) {
		seconds := func(low, high int, label string) time.Duration {
			return time.Duration(rapid.IntRange(low*10, high*10).Draw(rt, label)) * 100 * time.Millisecond
		}
		starts := rapid.SliceOfN(rapid.IntRange(0, 3000), 2, 5).Draw(rt, "starts, ms apart")
		uptime := seconds(10, 8000, "uptime")
		episodes := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) episode {
			return episode{
				kind:   rapid.IntRange(0, 2).Draw(rt, "cut, deaf or mute"),
				nodes:  rapid.IntRange(1, 31).Draw(rt, "nodes"),
				pause:  time.Duration(rapid.IntRange(0, 600).Draw(rt, "pause")) * 100 * time.Millisecond,
				lasts:  time.Duration(rapid.IntRange(10, 1900).Draw(rt, "lasts")) * 100 * time.Millisecond,
				repeat: rapid.Bool().Draw(rt, "overlaps"),
			}
		}), 1, 3).Draw(rt, "outages")
		var problem string
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			var nodes []*node
			for i, ms := range starts {
				nodes = append(nodes, run(t, hostOn(link, eth(i+1)), service(fmt.Sprint("peer", i+1))))
				pass(time.Duration(ms) * time.Millisecond)
			}
			pass(uptime)
			heal := func() {
				link.Cut()
				link.Deafen()
				link.Mute()
			}
			for _, e := range episodes {
				pass(e.pause)
				var some []*dnssdtest.Host
				for i, n := range nodes {
					if e.nodes&(1<<i) != 0 {
						some = append(some, n.host)
					}
				}
				[]func(...*dnssdtest.Host){link.Cut, link.Deafen, link.Mute}[e.kind](some...)
				pass(e.lasts)
				if !e.repeat {
					heal()
				}
			}
			heal()
			// This is done twice: instances that are lost only now, because
			// their last refreshes went unanswered, are found again as fast.
			for range 2 {
				if took := together(promise, nodes...); took >= promise {
					var logs []string
					for _, n := range nodes {
						logs = append(logs, n.log())
					}
					problem = strings.Join(logs, "\n")
				}
				pass(6 * time.Second)
			}
		})
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// Repeated announcements, and questions for peers that may be missing, cost a
// node that is alone a packet every two seconds for two minutes, and other
// nodes next to nothing.
func TestStartTraffic(t *testing.T) {
	for _, test := range []struct {
		nodes int
		apart time.Duration
		most  float64 // packets of a node within 5 minutes
	}{
		{1, 0, 92}, {2, 0, 42}, {2, 10 * time.Second, 44},
		{10, 0, 42}, {10, 300 * time.Millisecond, 42}, {10, 10 * time.Second, 52},
	} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			all := peers(t, link, 1, test.nodes, test.apart)
			pass(5 * time.Minute)
			c := sent(all...)
			each := float64(c.Packets) / float64(test.nodes)
			t.Logf("%d nodes that start %v apart: %.1f packets and %.0f bytes a node in 5 minutes", test.nodes, test.apart, each, float64(c.Bytes)/float64(test.nodes))
			require.LessOrEqual(t, each, test.most)
		})
	}
}

// A doubted instance is not listed as known: it should answer, and our question
// must not keep others silent.
func TestDoubtedIsNotListed(t *testing.T) {
	for name, doubt := range map[string]func(n *node, o *outsider){
		"reconfirmed":            func(n *node, o *outsider) { n.Reconfirm("peer") },
		"an address is lacking":  func(n *node, o *outsider) { o.send(reply(n.t, "peer.local. 0 IN A 10.0.0.2")) },
		"no answer to refreshes": func(n *node, o *outsider) { pass(45 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				link := dnssdtest.NewLink()
				n := run(t, hostOn(link, eth4(1)))
				o, others := newOutsider(t, link, 2), 2
				pass(5 * time.Minute)
				o.send(instance(t, "peer", "10.0.0.2", "x=1"))
				pass(60 * time.Second)
				listed := func() int {
					start := time.Now()
					others++
					newOutsider(t, link, others).send(query("_sd._udp.local. PTR"))
					pass(3100 * time.Millisecond)
					asked := filter(messages(t, link, 1, start), asksFor(dns.TypePTR))
					require.Len(t, asked, 1)
					return records(asked, dns.TypePTR)
				}
				require.Equal(t, 1, listed())
				pass(6 * time.Second)
				doubt(n, o)
				pass(1200 * time.Millisecond)
				start := time.Now()
				require.Zero(t, listed())
				o.send(instance(t, "peer", "10.0.0.2", "x=1"))
				pass(8*time.Second - time.Since(start)%time.Second)
				require.Equal(t, 1, listed())
			})
		})
	}
}

// When a network is broken, and many nodes are missing at the same time, their
// questions share a packet every seven seconds, and they all come back at the
// same time.
func TestManyMissing(t *testing.T) {
	for name, cut := range map[string]func(l *dnssdtest.Link, h []*dnssdtest.Host){
		"one is cut off": func(l *dnssdtest.Link, h []*dnssdtest.Host) { l.Cut(h[0]) },
		"in two halves":  func(l *dnssdtest.Link, h []*dnssdtest.Host) { l.Cut(h[:len(h)/2]...) },
		"all are apart":  func(l *dnssdtest.Link, h []*dnssdtest.Host) { l.Deafen(h...) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				nodes := soak.N(22, 51)
				link := dnssdtest.NewLink()
				var all []*node
				for i := range nodes {
					// The label is as long as an identity: twenty of them fill
					// a packet.
					all = append(all, run(t, hostOn(link, eth(i+1)), service(fmt.Sprintf("%043d", i), "name=Somebody's laptop")))
					pass(100 * time.Millisecond)
				}
				pass(time.Minute)
				cut(link, hosts(all))
				pass(2*time.Minute + 10*time.Second)
				require.Less(t, len(all[0].Instances()), nodes/2)
				link.Forget()
				minutes := soak.N(1, 3)
				before, first := sent(all...), sent(all[0])
				pass(time.Duration(minutes) * time.Minute)
				after, firstAfter := sent(all...), sent(all[0])
				t.Logf("%.1f packets a minute a node, %.1f of the first one", float64(after.Packets-before.Packets)/float64(minutes*nodes), float64(firstAfter.Packets-first.Packets)/float64(minutes))
				require.Less(t, firstAfter.Packets-first.Packets, uint64(minutes*20+4), "60/7 for each family, and browsing")
				link.Cut()
				link.Deafen()
				before = after
				took := together(promise, all...)
				pass(promise - took)
				after = sent(all...)
				t.Logf("seen again after %v, with %.1f packets a node", took, float64(after.Packets-before.Packets)/float64(nodes))
				require.Less(t, took, promise)
				require.Less(t, after.Packets-before.Packets, uint64(nodes*12))
			})
		})
	}
}
