package dnssd_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// The tests in this file are networks as users report them: what is unusual
// about each, and what a node should do in it.

// eth6 is eth without IPv4, but with a temporary address and a unique local
// one.
func eth6(n, temporary int) dnssd.Interface {
	ifc := eth(n)
	ifc.Addrs = append(ifc.Addrs[1:2:2],
		netip.MustParsePrefix(fmt.Sprintf("fd00:1::%x/64", n)),
		netip.MustParsePrefix(fmt.Sprintf("fd00:1::%x:%x:ffff/64", n, temporary)))
	return ifc
}

// A network without IPv4 works, even with only link-local addresses; and
// goodbyes are heard.
func TestIPv6Only(t *testing.T) {
	for _, linkLocal := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			ifc := func(n int) dnssd.Interface {
				ifc := eth6(n, 1)
				if linkLocal {
					ifc.Addrs = ifc.Addrs[:1]
				}
				return ifc
			}
			a := runWith(t, hostOn(link, ifc(1)), (&prover{}).config(), service("a"))
			b := runWith(t, hostOn(link, ifc(2)), (&prover{}).config(), service("b"))
			pass(3 * time.Second)
			require.Equal(t, []string{"b"}, names(a))
			require.Equal(t, []string{"a"}, names(b))
			pass(time.Hour)
			require.Equal(t, "found b", a.log())
			b.stop()
			pass(time.Second)
			require.Empty(t, names(a))
		})
	}
}

// Addresses are replaced every few minutes, like those of privacy extensions if
// the system does not mark them. Nodes follow them, with two reports for each
// change, since the former address stays until its owner was asked, and the
// peer is never lost.
func TestAddressesThatChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := runWith(t, hostOn(link, eth6(1, 1)), (&prover{}).config(), service("n"))
		h := hostOn(link, eth6(2, 1))
		runWith(t, h, (&prover{}).config(), service("peer"))
		pass(5 * time.Minute)
		for i := range 20 {
			h.Change(eth6(2, 2+i))
			pass(5 * time.Minute)
			require.Len(t, n.seen(), 3+2*i, n.log())
			require.Equal(t, eth6(2, 2+i).Addrs[2].Addr(), n.Instances()[0].Addrs[1].Addr())
			require.Len(t, n.Instances()[0].Addrs, 2)
		}
		require.NotContains(t, n.log(), "lost")
	})
}

// A phone that can receive and send only for three seconds in every ten counts
// as present: a question for it hits one of these times before its records
// expire.
func TestSleepyPeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := runWith(t, hostOn(link, eth(1)), (&prover{}).config(), service("n"))
		h := hostOn(link, eth(2))
		runWith(t, h, (&prover{}).config(), service("phone"))
		pass(time.Minute)
		for range 6 * 60 {
			link.Cut(h)
			pass(7 * time.Second)
			link.Cut()
			pass(3 * time.Second)
		}
		require.LessOrEqual(t, n.away(n.start.Add(time.Minute), "phone", netip.AddrPortFrom(addr4(2), 4242)), 5*time.Minute)
	})
}

// If an access point blocks unicast between its clients, they still find each
// other, and hear goodbyes.
func TestClientIsolation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		link.Drop(func(f dnssdtest.Frame, _ netip.Addr) bool { return !f.Dst.Addr().IsMulticast() })
		a := runWith(t, hostOn(link, eth(1)), (&prover{}).config(), service("a"))
		b := runWith(t, hostOn(link, eth(2)), (&prover{}).config(), service("b"))
		pass(2 * time.Second)
		require.Equal(t, []string{"b"}, names(a))
		require.Equal(t, []string{"a"}, names(b))
		pass(3 * time.Hour)
		a.Reconfirm("b")
		pass(time.Minute)
		require.Equal(t, "found b", a.log())
		b.stop()
		pass(time.Second)
		require.Empty(t, names(a))
	})
}

// In a network where no router asks for memberships, a switch that snoops IGMP
// forgets them after 260 s. A report renews them: a node that gets no answers
// joins again, and is deaf for a minute or two at most.
func TestSnoopingWithoutQuerier(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		hosts := []*dnssdtest.Host{hostOn(link, eth(1)), hostOn(link, eth(2)), hostOn(link, eth(3))}
		var nodes []*node
		for i, h := range hosts {
			nodes = append(nodes, runWith(t, h, (&prover{}).config(), service(fmt.Sprint("n", i))))
		}
		type report struct {
			joins int
			at    time.Time
		}
		reports := map[*dnssdtest.Host]report{}
		begin := time.Now()
		for time.Since(begin) < 2*time.Hour {
			var deaf []*dnssdtest.Host
			for _, h := range hosts {
				if r := reports[h]; h.Joins() != r.joins {
					reports[h] = report{h.Joins(), time.Now()}
				}
				if time.Since(reports[h].at) > 260*time.Second {
					deaf = append(deaf, h)
				}
			}
			link.Deafen(deaf...)
			pass(10 * time.Millisecond)
		}
		for i, n := range nodes {
			for j := range nodes {
				at := netip.AddrPortFrom(addr4(1+j), 4242)
				require.True(t, i == j || n.away(begin.Add(time.Minute), fmt.Sprint("n", j), at) < 10*time.Minute, n.log())
			}
			require.LessOrEqual(t, hosts[i].Joins(), 2*60)
		}
	})
}

// A computer with two interfaces on one wire, such as a docked laptop with its
// Wi-Fi on, is one peer at both addresses. It is gone at once when it sends a
// goodbye; when one interface goes, the other's address stays.
func TestTwoInterfacesOnOneWire(t *testing.T) {
	for _, unplug := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			h := hostOn(link, eth4(2))
			wlan := eth4(3)
			wlan.Index, wlan.Name = 3, "wlan0"
			h.Plug(link, wlan)
			n := runWith(t, hostOn(link, eth4(1)), (&prover{}).config(), service("n"))
			laptop := runWith(t, h, (&prover{}).config(), service("laptop"))
			pass(time.Hour)
			both := []netip.AddrPort{netip.AddrPortFrom(addr4(2), 4242), netip.AddrPortFrom(addr4(3), 4242)}
			require.Equal(t, []string{"laptop"}, names(n))
			require.ElementsMatch(t, both, n.Instances()[0].Addrs)
			require.Equal(t, []string{"n"}, names(laptop))
			require.NotContains(t, laptop.log(), "conflict")
			start := time.Now()
			if unplug {
				h.Unplug(3)
				pass(2 * time.Minute)
				require.Equal(t, both[:1], n.Instances()[0].Addrs)
				require.Zero(t, n.away(start, "laptop", both[0]))
			}
			laptop.stop()
			pass(2100 * time.Millisecond) // 0.85 s, and 1.2 s if one interface's answer has just put the other's address in doubt
			require.Empty(t, names(n))
		})
	}
}

// Two devices have the same address on one link, as after a lease was given
// twice: they see each other, and others see both.
func TestOneAddressTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		n := runWith(t, hostOn(link, eth4(1)), (&prover{}).config(), service("n"))
		a := runWith(t, hostOn(link, eth4(2)), (&prover{}).config(), service("a"))
		b := runWith(t, hostOn(link, eth4(2)), (&prover{}).config(), service("b"))
		pass(time.Hour)
		require.ElementsMatch(t, []string{"a", "b"}, names(n))
		require.ElementsMatch(t, []string{"n", "b"}, names(a))
		require.ElementsMatch(t, []string{"n", "a"}, names(b))
		a.stop()
		pass(time.Second)
		require.Equal(t, []string{"b"}, names(n))
		require.NotContains(t, n.log(), "lost b")
	})
}

// Bridges of containers that come and go every minute, on a host with a
// network, do not make it announce itself or ask again on that network.
func TestBridgesThatComeAndGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth4(1))
		n := runWith(t, h, (&prover{}).config(), service("n"))
		peer := runWith(t, hostOn(link, eth4(2)), (&prover{}).config(), service("peer"))
		pass(10 * time.Minute)
		start := time.Now()
		for i := range 60 {
			bridge := eth4(1)
			bridge.Index, bridge.Name = 10+i, fmt.Sprint("br", i)
			bridge.Addrs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 17, byte(i), 1}), 24)}
			h.Plug(dnssdtest.NewLink(), bridge)
			pass(30 * time.Second)
			h.Unplug(10 + i)
			pass(30 * time.Second)
		}
		require.LessOrEqual(t, len(messages(t, link, 1, start)), 3*60)
		require.Equal(t, "found n", peer.log())
		require.Equal(t, "found peer", n.log())
	})
}
