package dnssd_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// On a new interface, the node announces itself and browses at once. When an
// interface vanishes, all that was learned on it is lost; if it comes back with
// another index, it is a new one (RFC 6762 §8.1, §13).
func TestInterfaceUpDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := dnssdtest.NewHost()
		a := run(t, h, service("a"))
		b := run(t, hostOn(link, eth(2)), service("b"))
		pass(30 * time.Second)
		require.Empty(t, a.log()+b.log())

		h.Plug(link, eth(1))
		pass(1200 * time.Millisecond)
		require.Equal(t, "found b", a.log())
		require.Equal(t, "found a", b.log())

		h.Unplug(2)
		pass(0)
		require.Equal(t, "found b, lost b", a.log())

		again := eth(1)
		again.Index = 7
		h.Plug(link, again)
		pass(1200 * time.Millisecond)
		require.Equal(t, "found b, lost b, found b", a.log())
		require.Equal(t, "found a", b.log(), "back before its records expired")

		down := again
		down.Up = false
		h.Change(down)
		pass(0)
		require.Equal(t, "found b, lost b, found b, lost b", a.log())
		h.Change(again)
		pass(1200 * time.Millisecond)
		require.Len(t, a.Instances(), 1)
	})
}

// RFC 6762 §8.4: a new address is announced at once, and one that is gone is
// withdrawn.
func TestAddressChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth(1))
		run(t, h, service("a"))
		b := run(t, hostOn(link, eth(2)))
		pass(30 * time.Second)
		start := time.Now()
		moved := eth(77)
		h.Change(moved)
		pass(200 * time.Millisecond)
		require.Equal(t, "[10.0.0.77:4242]", sprint(b.Instances()[0].Addrs))
		require.Equal(t, "[[fe80::4d%eth0]:4242]", sprint(b.Instances()[0].LinkLocal))
		require.Equal(t, "found a, found a", b.log())
		require.Empty(t, filter(messages(t, link, 0, start), isProbe))

		h.Change(eth4(77))
		pass(8 * time.Second)
		require.Empty(t, b.Instances()[0].LinkLocal)
		require.NotEmpty(t, b.Instances()[0].Addrs)
		require.Equal(t, "found a, found a, found a", b.log())

		// The interface comes back, and is announced over both families, and so
		// is a service that waited for it.
		only6 := service("six")
		only6.IPv4 = false
		six := run(t, h, only6)
		pass(8 * time.Second)
		require.Empty(t, filter(messages(t, link, 77, six.start), isProbe))
		start = time.Now()
		h.Change(moved)
		pass(100 * time.Millisecond)
		var over6 int
		for _, f := range link.Frames() {
			if f.Time.After(start) && f.Src.Addr() == moved.Addrs[1].Addr() {
				over6++
			}
		}
		require.Positive(t, over6)
		pass(2 * time.Second)
		require.ElementsMatch(t, []string{"a", "six"}, names(b))
	})
}

// Instances learned in one network do not count in the next: they are not
// listed as known answers, and are lost (see RFC 6762 §10.3).
func TestNetworkChange(t *testing.T) {
	cafe := func() dnssd.Interface {
		ifc := eth4(9)
		ifc.Addrs = []netip.Prefix{netip.MustParsePrefix("192.168.7.9/24")}
		return ifc
	}
	sameAddress := func() dnssd.Interface {
		ifc := eth4(1)
		ifc.Gateway = netip.MustParseAddr("10.0.0.253")
		return ifc
	}
	renamed := eth4(1)
	renamed.Name = "eth9"
	router := eth4(1)
	router.Gateway, router.GatewayLink = netip.MustParseAddr("10.0.0.254"), "02:00:00:00:00:02"
	for name, moved := range map[string]dnssd.Interface{
		"prefix": cafe(), "gateway": sameAddress(), "name": renamed, "router": router,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				home, elsewhere := dnssdtest.NewLink(), dnssdtest.NewLink()
				h := dnssdtest.NewHost()
				at := eth4(1)
				at.Gateway, at.GatewayLink = netip.MustParseAddr("10.0.0.254"), "02:00:00:00:00:01"
				h.Plug(home, at)
				a := run(t, h, service("a"))
				run(t, hostOn(home, eth4(2)), service("b"))
				pass(30 * time.Second)
				require.Equal(t, "found b", a.log())

				start := time.Now()
				h.Plug(elsewhere, moved)
				pass(20 * time.Second)
				require.Equal(t, "found b, lost b", a.log())
				asked := filter(messages(t, elsewhere, 0, start), asksFor(dns.TypePTR))
				require.NotEmpty(t, asked)
				for _, m := range asked {
					require.Empty(t, m.Answer)
				}
				require.Len(t, filter(messages(t, elsewhere, 0, start), isProbe), 3)
			})
		})
	}
	// Another address of the same network does not mean a move.
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth(1))
		a := run(t, h)
		run(t, hostOn(link, eth(2)), service("b"))
		pass(30 * time.Second)
		more := eth(1)
		more.Addrs = append(more.Addrs, netip.MustParsePrefix("2001:db8::1/64"))
		h.Change(more)
		pass(10 * time.Second)
		h.Change(eth(1))
		pass(10 * time.Second)
		require.Equal(t, "found b", a.log())
		// Nor does a second IPv4 network that comes and goes, or a default
		// route.
		more.Addrs[2] = netip.MustParsePrefix("172.16.0.1/24")
		more.Gateway = netip.MustParseAddr("10.0.0.254")
		h.Change(more)
		pass(10 * time.Second)
		h.Change(eth(1))
		pass(10 * time.Second)
		require.Equal(t, "found b", a.log())
		// Nor does a router whose link-layer address becomes known, or is
		// unknown for a while, or the router of IPv6.
		for _, link := range []string{"02:00:00:00:00:01", "", "02:00:00:00:00:01"} {
			more.GatewayLink = link
			h.Change(more)
			pass(10 * time.Second)
		}
		six := eth(1)
		six.Gateway, six.GatewayLink = netip.MustParseAddr("fe80::1"), "02:00:00:00:00:06"
		h.Change(six)
		pass(10 * time.Second)
		require.Equal(t, "found b", a.log())
		// But the router is remembered.
		for _, link := range []string{"02:00:00:00:00:01", "", "02:00:00:00:00:02"} {
			require.Equal(t, "found b", a.log())
			more.GatewayLink = link
			h.Change(more)
			pass(10 * time.Second)
		}
		require.Equal(t, "found b, lost b, found b", a.log())
	})
	// Without IPv4, the prefix of IPv6 identifies the network, but that of
	// link-local addresses does not.
	bubble(t, func(t *testing.T) {
		six := func(n int, prefix string) dnssd.Interface {
			ifc := eth(n)
			ifc.Addrs = []netip.Prefix{ifc.Addrs[1], netip.MustParsePrefix(fmt.Sprint(prefix, n, "/64"))}
			return ifc
		}
		home, elsewhere := dnssdtest.NewLink(), dnssdtest.NewLink()
		h := hostOn(home, six(1, "2001:db8:1::"))
		a := run(t, h)
		run(t, hostOn(home, six(2, "2001:db8:1::")), service("b"))
		pass(30 * time.Second)
		require.Equal(t, "found b", a.log())
		h.Plug(elsewhere, six(1, "2001:db8:2::"))
		pass(5 * time.Second)
		require.Equal(t, "found b, lost b", a.log())
	})
}

// The interfaces in use are those that are up and have multicast, without
// loopback and point-to-point ones; or those that are named.
func TestInterfaceChoice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		links := make([]*dnssdtest.Link, 5)
		h := dnssdtest.NewHost()
		for i := range links {
			links[i] = dnssdtest.NewLink()
			ifc := eth(i + 1)
			ifc.Index = i + 1
			ifc.Name = []string{"lo", "eth0", "tun0", "eth1", "ppp0"}[i]
			ifc.Loopback = ifc.Name == "lo"
			if ifc.Loopback {
				ifc.Addrs = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}
			}
			ifc.PointToPoint = ifc.Name == "tun0"
			ifc.Multicast = ifc.Name != "ppp0"
			h.Plug(links[i], ifc)
		}
		run(t, h, service("a"))
		b := runWith(t, h, dnssd.Config{Interfaces: []string{"lo", "tun0"}}, service("b"))
		c := runWith(t, h, dnssd.Config{Interfaces: []string{"lo"}}, service("c"))
		pass(5 * time.Second)
		heard := []string{}
		for i, l := range links {
			for _, f := range l.Frames() {
				m := message{Frame: f}
				require.NoError(t, m.Unpack(f.Data))
				if isProbe(m) {
					heard = append(heard, []string{"lo", "eth0", "tun0", "eth1", "ppp0"}[i]+" "+m.Question[0].Name[:1])
				}
				require.False(t, i == 0 && f.Src.Addr().Is6(), "no IPv6 multicast on loopback")
			}
		}
		require.ElementsMatch(t, []string{
			"lo b", "lo b", "lo b", "lo c", "lo c", "lo c",
			"eth0 a", "eth0 a", "eth0 a", "eth0 a", "eth0 a", "eth0 a",
			"eth1 a", "eth1 a", "eth1 a", "eth1 a", "eth1 a", "eth1 a",
			"tun0 b", "tun0 b", "tun0 b", "tun0 b", "tun0 b", "tun0 b",
		}, heard)
		require.Len(t, c.Instances(), 1)
		require.Equal(t, "[127.0.0.1:4242 [::1]:4242]", sprint(c.Instances()[0].Addrs))
		require.Equal(t, "found c", b.log())
	})
}

// An instance seen on two links is one instance, with the addresses on both; on
// each link, only that link's own addresses are announced (RFC 6762 §14). Two
// interfaces on one link are no conflict.
func TestTwoLinks(t *testing.T) {
	second := func(n int) dnssd.Interface {
		ifc := eth4(n)
		ifc.Index, ifc.Name = 3, "eth1"
		ifc.Addrs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, 0, byte(n)}), 24)}
		return ifc
	}
	bubble(t, func(t *testing.T) {
		one, two := dnssdtest.NewLink(), dnssdtest.NewLink()
		ha, hb := hostOn(one, eth4(1)), hostOn(one, eth4(2))
		ha.Plug(two, second(1))
		hb.Plug(two, second(2))
		run(t, ha, service("a"))
		b := run(t, hb)
		pass(5 * time.Second)
		require.Len(t, b.Instances(), 1)
		require.Equal(t, []string{"eth0", "eth1"}, b.Instances()[0].Interfaces)
		require.Equal(t, "[10.0.0.1:4242 172.16.0.1:4242]", sprint(b.Instances()[0].Addrs))
		for _, m := range filter(messages(t, one, 0, time.Time{}), isResponse) {
			for _, rr := range m.Answer {
				require.NotContains(t, rr.String(), "172.16")
			}
		}
		hb.Unplug(3)
		pass(6 * time.Second)
		require.Equal(t, "[10.0.0.1:4242]", sprint(b.Instances()[0].Addrs))
		require.NotContains(t, b.log(), "lost")
	})
	// RFC 6762 §7.1: known answers are those of the link on which they are
	// listed.
	bubble(t, func(t *testing.T) {
		one, two := dnssdtest.NewLink(), dnssdtest.NewLink()
		h := hostOn(one, eth4(1))
		h.Plug(two, second(1))
		n := run(t, h)
		o := newOutsider(t, one, 2)
		pass(500 * time.Millisecond)
		o.send(instance(t, "b", "10.0.0.2", "x=1"))
		pass(10 * time.Second)
		require.Equal(t, 3, records(filter(messages(t, one, 1, n.start), isQuery), dns.TypePTR))
		require.Zero(t, records(messages(t, two, 0, n.start), dns.TypePTR))
		require.NotEmpty(t, messages(t, two, 0, n.start))
	})
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth4(1))
		again := eth4(101)
		again.Index, again.Name = 3, "eth1"
		h.Plug(link, again)
		a := run(t, h, service("a"))
		b := run(t, hostOn(link, eth4(2)), service("b"))
		pass(time.Hour)
		require.NotContains(t, a.log()+b.log(), "conflict")
		require.NotContains(t, a.log()+b.log(), "lost")
		require.Equal(t, []string{"eth0", "eth1"}, a.Instances()[0].Interfaces)
		require.Equal(t, "[10.0.0.1:4242 10.0.0.101:4242]", sprint(b.Instances()[0].Addrs))
		require.LessOrEqual(t, len(b.seen()), 2, "once for each interface: %v", b.log())
	})
}

// RFC 4007 §6: a link-local address is unique only on its link. A neighbor on
// one link may have our address on the other; and packets that we send on one
// interface and hear on another one of the same link are recognized as ours.
func TestLinkLocalTwice(t *testing.T) {
	link6 := func(n, index int, name string) dnssd.Interface {
		ifc := eth(n)
		ifc.Index, ifc.Name, ifc.Addrs = index, name, ifc.Addrs[1:]
		return ifc
	}
	bubble(t, func(t *testing.T) {
		one, two := dnssdtest.NewLink(), dnssdtest.NewLink()
		h := hostOn(one, link6(1, 2, "eth0"))
		h.Plug(two, link6(2, 3, "eth1"))
		a := run(t, h, service("a"))
		b := run(t, hostOn(two, link6(1, 2, "eth0")), service("b"))
		pass(5 * time.Second)
		require.Equal(t, "found b", a.log())
		require.Equal(t, "found a", b.log())
	})
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, link6(1, 2, "eth0"))
		h.Plug(link, link6(2, 3, "eth1"))
		a := run(t, h, service("a"))
		pass(time.Hour)
		require.Empty(t, a.log())
		require.Zero(t, a.Stats().Received)
	})
}

// RFC 6762 §15: two engines on one host share port and address, and hear each
// other; neither mistakes the other's packets for its own.
func TestTwoEnginesOneHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth(1))
		a := run(t, h, service("a"))
		b := run(t, h, service("b"))
		c := run(t, hostOn(link, eth(2)), service("c"))
		pass(3 * time.Second)
		require.ElementsMatch(t, []string{"a", "c"}, names(b))
		require.ElementsMatch(t, []string{"b", "c"}, names(a))
		require.ElementsMatch(t, []string{"a", "b"}, names(c))
		pass(time.Hour)
		require.Len(t, c.seen(), 2)
		require.Positive(t, a.Stats().Own)
		a.stop()
		pass(1100 * time.Millisecond)
		require.Equal(t, []string{"c"}, names(b))
	})
}

func names(n *node) []string {
	var out []string
	for _, i := range n.Instances() {
		out = append(out, i.Name)
	}
	return out
}

// RFC 6762 §8: on an interface whose group could not be joined at first, the
// node probes and announces itself once joining works.
func TestJoinLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth(1))
		h.RefuseJoin(true)
		a := run(t, h, service("a"))
		b := run(t, hostOn(link, eth(2)))
		pass(time.Minute)
		require.Empty(t, messages(t, link, 1, time.Time{}))
		start := time.Now()
		h.RefuseJoin(false)
		pass(7 * time.Second)
		require.Len(t, filter(messages(t, link, 1, start), isProbe), 3)
		require.Equal(t, "found a", b.log())
		require.EqualValues(t, 4, a.Stats().Sent.Announcements.Packets)
	})
}

// A socket that fails while running is opened again, with a pause that grows
// while it keeps failing; the failure and the recovery are logged once.
func TestSocketFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth(1))
		var logged lockedBuffer
		a := runWith(t, h, dnssd.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, service("a"))
		pass(5 * time.Second)
		h.Break(errors.New("boom"))
		pass(10 * time.Minute)
		require.Zero(t, h.Sockets())
		require.Len(t, logged.lines(), 2, "one for each family")
		h.Break(nil)
		pass(2 * time.Minute)
		require.Equal(t, 2, h.Sockets())
		require.Len(t, logged.lines(), 4)
		said := filter(messages(t, link, 1, a.start.Add(10*time.Minute)), isResponse)
		require.Equal(t, time.Second, said[1].at-said[0].at, "announced again")
		run(t, hostOn(link, eth(2)), service("b"))
		pass(2 * time.Second)
		require.Equal(t, []string{"b"}, names(a))
	})
	// At the start, a failing socket is an error.
	bubble(t, func(t *testing.T) {
		h := dnssdtest.NewHost()
		boom := errors.New("boom")
		h.Break(boom)
		e, err := dnssd.New(dnssd.Config{Service: serviceType, Network: h})
		require.NoError(t, err)
		require.ErrorIs(t, e.Run(t.Context()), boom)
	})
}

// RFC 6762 §8.3, §5.2: a computer that was suspended announces its services
// again, since others have let them expire, and asks whether the instances that
// it knew are still there.
func TestSuspend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth4(1)), service("a"))
		b := run(t, hostOn(link, eth4(2)), service("b"))
		gone := run(t, hostOn(link, eth4(3)), service("gone"))
		pass(time.Minute)
		require.Equal(t, 2, len(a.Instances()))

		link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool { // a receives and sends nothing
			return to == eth4(1).Addrs[0].Addr() || f.Src.Addr() == eth4(1).Addrs[0].Addr()
		})
		a.host.Sleep(20 * time.Minute)
		gone.stop()
		pass(20*time.Minute - time.Millisecond)
		require.Contains(t, b.log(), "lost a")
		require.Empty(t, filter(messages(t, link, 1, time.Now().Add(-19*time.Minute)), func(message) bool { return true }))
		link.Drop(nil)
		start := time.Now()
		pass(8 * time.Second)
		require.Equal(t, "a", b.Instances()[0].Name)
		require.Len(t, filter(messages(t, link, 1, start), isProbe), 3)
		require.Len(t, filter(messages(t, link, 1, start), func(m message) bool { return m.Response && len(m.Answer) == 5 }), 2, "announced")
		require.GreaterOrEqual(t, len(filter(messages(t, link, 1, start), asksFor(dns.TypePTR))), 3, "browsing starts anew")
		pass(10 * time.Second)
		require.Len(t, a.Instances(), 1)
		require.Equal(t, "b", a.Instances()[0].Name)
	})
	// RFC 6762 §10.4: after only a minute, instances that are gone have not
	// expired.
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := run(t, hostOn(link, eth4(1)))
		run(t, hostOn(link, eth4(2)), service("b"))
		pass(50 * time.Second)
		gone := run(t, hostOn(link, eth4(3)), service("gone"))
		pass(10 * time.Second)
		link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool { return to == addr4(1) })
		a.host.Sleep(time.Minute)
		gone.stop()
		pass(59 * time.Second)
		link.Drop(nil)
		require.Equal(t, "found b, found gone", a.log())
		pass(16 * time.Second)
		require.Equal(t, "found b, found gone, lost gone", a.log())
	})
}

// Two networks that do not know of each other may use the same addresses. A
// device in the other network that has this node's address is another device.
func TestSameAddressElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := dnssdtest.NewLink(), dnssdtest.NewLink()
		h := hostOn(a, eth4(1))
		wlan := eth4(2)
		wlan.Index, wlan.Name = 3, "wlan0"
		h.Plug(b, wlan)
		n := run(t, h, service("n"))
		run(t, hostOn(b, eth4(1)), service("real"))
		pass(10 * time.Second)
		require.Equal(t, []string{"real"}, names(n))
	})
}
