package dnssd_test

import (
	"fmt"
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

// wlan returns the n-th host's interface eth1 on the network 172.16.0.0/24 with
// fe80::1:n.
func wlan(n int) dnssd.Interface {
	return dnssd.Interface{
		Index: 3, Name: "eth1", MTU: 1500, Up: true, Multicast: true,
		Addrs: []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, 0, byte(n)}), 24),
			netip.MustParsePrefix(fmt.Sprintf("fe80::1:%x/64", n)),
		},
	}
}

// repeated is two links that a repeater joins, which is host 254 on each, and a
// host on both.
type repeated struct {
	one, two *dnssdtest.Link
	middle   *dnssdtest.Host // host 1
}

func newRepeated(t *testing.T) *repeated {
	r := &repeated{one: dnssdtest.NewLink(), two: dnssdtest.NewLink()}
	router := hostOn(r.one, eth(254))
	router.Plug(r.two, wlan(254))
	t.Cleanup(dnssdtest.Repeat(router))
	r.middle = hostOn(r.one, eth(1))
	r.middle.Plug(r.two, wlan(1))
	return r
}

// count returns the number of events of a kind that a node has reported since a
// time.
func (n *node) count(what, name string, since time.Duration) (count int) {
	for _, e := range n.seen() {
		if e.what == what && e.name == name && e.at >= since {
			count++
		}
	}
	return count
}

// instance returns an instance that the node knows.
func (n *node) instance(name string) dnssd.Instance {
	n.t.Helper()
	for _, i := range n.Instances() {
		if i.Name == name {
			return i
		}
	}
	n.t.Fatalf("%q is not known", name)
	return dnssd.Instance{}
}

// RFC 6762 §9: repeated packets that a node sent on its other link are no
// conflict, in whatever order they arrive. The node is not reported to itself
// either, nor asks for itself.
func TestRepeater(t *testing.T) {
	for i := range soak.N(5, 10) {
		bubble(t, func(t *testing.T) {
			r := newRepeated(t)
			left := run(t, hostOn(r.one, eth(2)), service("left"))
			right := run(t, hostOn(r.two, wlan(2)), service("right"))
			both := hostOn(r.one, eth(3))
			both.Plug(r.two, wlan(3))
			observer := run(t, both)
			pass(10 * time.Second)
			middle := run(t, r.middle, service("middle"))
			pass(10 * time.Second)
			require.NotContains(t, middle.log(), "middle")
			require.ElementsMatch(t, []string{"left", "right"}, names(middle))
			require.Equal(t, "[10.0.0.1:4242 172.16.0.1:4242]", sprint(observer.instance("middle").Addrs))
			require.Empty(t, observer.instance("middle").OffLink, "addresses on its own links are not off-link")

			// A neighbor lists the address on its own link first, and the other
			// one separately.
			require.Equal(t, "[10.0.0.1:4242]", sprint(left.instance("middle").Addrs))
			require.Equal(t, "[172.16.0.1:4242]", sprint(left.instance("middle").OffLink))
			require.Equal(t, "[172.16.0.1:4242]", sprint(right.instance("middle").Addrs))
			require.Equal(t, "[10.0.0.1:4242]", sprint(right.instance("middle").OffLink))
			require.Len(t, right.instance("middle").Targets, 2)

			// This does not change any more.
			settled := time.Since(middle.start)
			start := time.Now()
			if i == 0 {
				pass(3 * time.Hour)
			} else {
				pass(time.Duration(soak.N(5, 180)) * time.Minute)
			}
			for _, n := range []*node{left, middle, right, observer} {
				for _, e := range n.seen() {
					require.Less(t, e.at-middle.start.Sub(n.start), settled, "%v %v", e.what, e.name)
				}
			}
			about := func(m message) bool { // questions for the node itself
				return len(m.Ns) == 0 && len(m.Question) > 0 && strings.HasPrefix(m.Question[0].Name, "middle")
			}
			require.Empty(t, filter(messages(t, r.one, 1, start), about))
		})
	}
}

// Changes lead to no conflict either, although the repeater may be late and
// repeat the former state. Neighbors report one change.
func TestRepeaterOfChanges(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(r *repeated, n *node)
		left   string // left's addresses of the node afterwards
	}{
		{"metadata", func(_ *repeated, n *node) { _ = n.Publish(service("middle", "x=2")) }, "[10.0.0.1:4242]"},
		{"port", func(_ *repeated, n *node) {
			s := service("middle", "x=1")
			s.Port = 5555
			_ = n.Publish(s)
		}, "[10.0.0.1:5555]"},
		{"address", func(r *repeated, _ *node) { r.middle.Change(eth(11)) }, "[10.0.0.11:4242]"},
		{"another network", func(r *repeated, _ *node) {
			ifc := eth(1)
			ifc.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.9.1/24")}
			r.middle.Change(ifc)
		}, "[10.0.9.1:4242]"},
	} {
		bubble(t, func(t *testing.T) {
			r := newRepeated(t)
			left := run(t, hostOn(r.one, eth4(2)), service("left"))
			right := run(t, hostOn(r.two, wlan(2)), service("right"))
			middle := run(t, r.middle, service("middle", "x=1"))
			pass(5 * time.Minute)
			before := r.one.Frames()
			from := time.Since(left.start)
			test.change(r, middle)
			pass(10 * time.Second)
			for _, n := range []*node{left, right} {
				require.Equal(t, 1, n.count("found", "middle", from), "%v: %v", test.name, n.log())
				require.Zero(t, n.count("lost", "middle", 0))
			}
			require.Equal(t, test.left, sprint(left.instance("middle").Addrs), test.name)
			require.Contains(t, sprint(right.instance("middle").Addrs), "172.16.0.1")

			// The repeater repeats the packets of the former state, on both
			// links.
			for _, f := range before[max(0, len(before)-40):] {
				r.one.Inject(f.Data, netip.AddrPortFrom(eth(254).Addrs[0].Addr(), dnssd.Port), dnssd.Groups[dnssd.IPv4])
				r.two.Inject(f.Data, netip.AddrPortFrom(wlan(254).Addrs[0].Addr(), dnssd.Port), dnssd.Groups[dnssd.IPv4])
			}
			pass(10 * time.Second)
			require.NotContains(t, middle.log(), "conflict", test.name)
		})
	}
}

// Our own former records are recognized as such for two minutes, and no longer;
// records of another device with the same key, which are heard through the
// repeater, never are.
func TestRepeaterOfOthers(t *testing.T) {
	const before = "middle._sd._udp.local. 120 IN SRV 0 0 4242 middle.local."
	bubble(t, func(t *testing.T) {
		r := newRepeated(t)
		middle := run(t, r.middle, service("middle"))
		o := newOutsider(t, r.one, 9)
		pass(time.Minute)
		moved := service("middle")
		moved.Port = 5555
		require.NoError(t, middle.Publish(moved))
		pass(119 * time.Second)
		o.send(reply(t, before))
		pass(10 * time.Second)
		require.Empty(t, middle.log())
		o.send(reply(t, before))
		pass(10 * time.Second)
		require.Equal(t, "conflict middle, clear middle", middle.log())
	})
	bubble(t, func(t *testing.T) {
		r := newRepeated(t)
		first := run(t, r.middle, service("twin"))
		pass(10 * time.Second)
		second := run(t, hostOn(r.two, wlan(2)), service("twin"))
		pass(10 * time.Second)
		require.Empty(t, first.log())
		require.Equal(t, "conflict twin", second.log())
		first.stop()
		pass(5 * time.Second)
		require.Equal(t, "conflict twin, clear twin", second.log())
	})
	// If two devices start at the same time, one waits for the other.
	bubble(t, func(t *testing.T) {
		r := newRepeated(t)
		first := run(t, r.middle, service("twin"))
		second := run(t, hostOn(r.two, wlan(2)), service("twin"))
		pass(10 * time.Second)
		require.Equal(t, 1, strings.Count(first.log()+second.log(), "conflict"))
	})
}

// RFC 6762 §7.4 applies to answers that others know as well: although a
// repeater has brought the answer of one link to another, the node gives the
// answer that is of use there.
func TestRepeaterAnswersFirst(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T) {
			r := newRepeated(t)
			run(t, r.middle, service("middle"))
			pass(time.Minute)
			start := time.Now()
			b, err := query("_sd._udp.local. PTR").Pack()
			require.NoError(t, err)
			r.two.Inject(b, netip.MustParseAddrPort("172.16.0.9:5353"), dnssd.Groups[dnssd.IPv4])
			pass(time.Second)
			answers := filter(messages(t, r.two, 0, start), func(m message) bool { return isResponse(m) && m.Src.Addr() == wlan(1).Addrs[0].Addr() })
			require.Len(t, answers, 1)
			require.Contains(t, answers[0].String(), "172.16.0.1")
			require.NotContains(t, answers[0].String(), "10.0.0.1")
		})
	}
}

// A node is not disturbed by its own probes when they come back: it answers
// none of them.
func TestRepeatedProbes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRepeated(t)
		middle := run(t, r.middle, service("middle"))
		pass(5 * time.Minute)
		start := time.Now()
		r.middle.Unplug(2)
		pass(10 * time.Second)
		r.middle.Plug(r.one, eth(1)) // this is probed for again
		pass(10 * time.Second)
		require.Len(t, filter(messages(t, r.one, 1, start), isProbe), 3)
		responses := filter(messages(t, r.two, 0, start), func(m message) bool { return isResponse(m) && m.Src.Addr() == wlan(1).Addrs[0].Addr() })
		require.LessOrEqual(t, len(responses), 5, "only answers to questions for other instances")
		require.Empty(t, middle.log())
	})
}

// A node's own questions that come back do not make it ask again and again.
func TestRepeatedQuestions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRepeated(t)
		middle := run(t, r.middle, service("middle"))
		pass(10 * time.Minute)
		require.Greater(t, middle.Stats().Sent.Announcements.Packets, uint64(60), "no other node has heard the announcements")
		before := sent(middle)
		pass(time.Hour)
		require.Less(t, sent(middle).Packets-before.Packets, uint64(60))
	})
}

// An SRV record that leads to another host than a newer one with the
// cache-flush bit is asked for. If it is not repeated, it is dropped after 3 s.
func TestSRVBeside(t *testing.T) {
	const one, two = "p._sd._udp.local. 120 IN SRV 0 0 4242 one.local.", "p._sd._udp.local. 120 IN SRV 0 0 4242 two.local."
	for _, repeats := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			n := run(t, hostOn(link, eth4(1)))
			o := newOutsider(t, link, 9)
			pass(time.Minute)
			o.send(reply(t, "_sd._udp.local. 4500 IN PTR p._sd._udp.local.", one, "p._sd._udp.local. 4500 IN TXT \"\"", "one.local. 120 IN A 10.0.0.8"))
			pass(30 * time.Second)
			require.Equal(t, "[10.0.0.8:4242]", sprint(n.instance("p").Addrs))
			start := time.Now()
			o.send(reply(t, two, "two.local. 120 IN A 10.0.0.9"))
			pass(2 * time.Second)
			require.Equal(t, "[10.0.0.8:4242 10.0.0.9:4242]", sprint(n.instance("p").Addrs))
			require.Len(t, filter(messages(t, link, 1, start), asksFor(dns.TypeSRV)), 2)
			if repeats {
				o.send(reply(t, one))
				pass(800 * time.Millisecond)
				o.send(reply(t, two)) // the other answer
			}
			pass(2 * time.Second)
			want := map[bool]string{false: "[10.0.0.9:4242]", true: "[10.0.0.8:4242 10.0.0.9:4242]"}[repeats]
			require.Equal(t, want, sprint(n.instance("p").Addrs))
			require.Equal(t, map[bool]int{false: 3, true: 2}[repeats], n.count("found", "p", 0), n.log())
		})
	}
}

// RFC 6762 §11, §5.4: a host of another network on the same wire is answered by
// multicast, whatever it asks for: an answer to it alone could go anywhere. Its
// instances are found.
func TestOtherNetworkOnTheWire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth4(1)), service("a"))
		other := eth4(1)
		other.Addrs = []netip.Prefix{netip.MustParsePrefix("192.168.7.1/24")}
		b := run(t, hostOn(link, other), service("b"))
		alone := eth4(1)
		alone.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.7.1/32")}
		c := run(t, hostOn(link, alone), service("c"))
		pass(10 * time.Second)
		require.Equal(t, []string{"b", "c"}, names(a))
		require.Equal(t, []string{"a", "c"}, names(b))
		require.Equal(t, []string{"a", "b"}, names(c))
		require.Equal(t, "[192.168.7.1:4242]", sprint(a.instance("b").OffLink))
		require.Equal(t, "[10.0.7.1:4242]", sprint(a.instance("c").Addrs))
		require.Equal(t, "[10.0.0.1:4242]", sprint(c.instance("a").OffLink))

		pass(time.Minute)
		start := time.Now()
		q, err := query("a._sd._udp.local. SRV QU").Pack()
		require.NoError(t, err)
		link.Inject(q, netip.MustParseAddrPort("192.168.7.9:5353"), dnssd.Groups[dnssd.IPv4])
		pass(time.Second)
		answers := filter(messages(t, link, 1, start), isResponse)
		require.Len(t, answers, 1)
		require.True(t, answers[0].Dst.Addr().IsMulticast())
	})
}
