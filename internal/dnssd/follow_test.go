package dnssd_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
	"github.com/sdp2p/p2p/internal/soak"
)

// routed is eth4 with the router 10.0.255.254, whose link-layer address may be
// unknown.
func routed(n int, link string) dnssd.Interface {
	ifc := eth4(n)
	ifc.Gateway, ifc.GatewayLink = netip.MustParseAddr("10.0.255.254"), link
	return ifc
}

// down is an interface without a carrier.
func down(ifc dnssd.Interface) dnssd.Interface {
	ifc.Up = false
	return ifc
}

// up returns an interface whose link has come up once more.
func up(ifc dnssd.Interface) dnssd.Interface {
	ifc.Ups++
	return ifc
}

const (
	routerA = "02:00:00:00:00:0a"
	routerB = "02:00:00:00:00:0b"
)

// A computer moves to another network with the same prefix and router address.
// However short its link was down, and whether or not the routers are known, it
// loses the nodes of the old network, and they lose it; it and the nodes of the
// new one know each other within 5 s; and its questions in the new network do
// not name nodes of the old one.
func TestMoveToLookalike(t *testing.T) {
	for _, test := range []struct {
		name     string
		pause    time.Duration // without a carrier; 0: only the number of ups changes
		old, new string
	}{
		{"at once, routers unknown", 0, "", ""},
		{"at once, router known later", 0, routerA, ""},
		{"at once", 0, routerA, routerB},
		{"1 s, routers unknown", time.Second, "", ""},
		{"1 s, router known later", time.Second, routerA, ""},
		{"1 s", time.Second, routerA, routerB},
		{"4 s, routers unknown", 4 * time.Second, "", ""},
		{"4 s", 4 * time.Second, routerA, routerB},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				one, two := dnssdtest.NewLink(), dnssdtest.NewLink()
				h := hostOn(one, routed(5, test.old))
				w := run(t, h, service("w"))
				run(t, hostOn(one, eth4(1)), service("x"))
				y := run(t, hostOn(two, eth4(2)), service("y"))
				pass(268 * time.Second)
				require.Equal(t, "found x", w.log())

				if test.pause > 0 {
					h.Change(down(routed(5, test.old)))
					pass(test.pause)
				}
				moved := time.Now()
				arrived := up(routed(5, ""))
				h.Silence(true) // until the whole interface is there
				h.Plug(two, arrived)
				h.Silence(false)
				h.Change(arrived)
				if test.new != "" {
					pass(time.Second)
					arrived.GatewayLink = test.new
					h.Change(arrived)
				}
				pass(5*time.Second - time.Since(moved))
				require.Equal(t, []string{"y"}, names(w))
				require.Equal(t, []string{"w"}, names(y))
				require.Equal(t, "found x, lost x, found y", w.log())
				for _, m := range messages(t, two, 5, moved) {
					require.NotContains(t, m.String(), "x._sd._udp", "a node of the former network is named")
				}
			})
		})
	}
}

// If a link is down for less than 2 s and has the same router afterwards, the
// node announces itself and browses anew on it, and loses nothing that it knew,
// unless that no longer answers. Nothing is sent meanwhile.
func TestLinkBlinks(t *testing.T) {
	for _, pause := range []time.Duration{0, 100 * time.Millisecond, 1800 * time.Millisecond} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			h := hostOn(link, routed(1, routerA))
			a := run(t, h, service("a"))
			b := run(t, hostOn(link, eth4(2)), service("b"))
			gone := run(t, hostOn(link, eth4(3)), service("gone"))
			pass(time.Minute)
			require.Len(t, a.Instances(), 2)

			link.Drop(func(f dnssdtest.Frame, to netip.Addr) bool { return to == addr4(1) })
			cut := time.Now()
			if pause > 0 {
				h.Change(down(routed(1, routerA)))
				pass(pause)
			}
			gone.stop()
			link.Drop(nil)
			h.Change(up(routed(1, ""))) // the router becomes known a little later
			require.NoError(t, a.Publish(service("a", "new=1")))
			pass(100 * time.Millisecond)
			require.Empty(t, messages(t, link, 1, cut), "nothing may be sent, since it may be another network")
			back, joins := time.Now(), h.Joins()
			h.Change(up(routed(1, routerA)))
			pass(2500 * time.Millisecond)
			require.Equal(t, joins+1, h.Joins(), "the group is joined again, so that a switch learns of it")
			require.Len(t, filter(messages(t, link, 1, back), isProbe), 3)
			require.Len(t, filter(messages(t, link, 1, back), func(m message) bool {
				return m.Response && records([]message{m}, dns.TypeSRV) > 0
			}), 2, "announced")
			require.GreaterOrEqual(t, len(filter(messages(t, link, 1, back), asksFor(dns.TypePTR))), 2)
			require.NotContains(t, a.log(), "lost")
			pass(8 * time.Second)
			require.Equal(t, []string{"b"}, names(a))
			require.NotContains(t, a.log(), "lost b")
			require.NotContains(t, b.log(), "lost a")
		})
	}
}

// What was known on a link is lost once the link has been down for 2 s, or at
// once if no router could prove that the network is the same afterwards.
func TestLinkDown(t *testing.T) {
	for _, router := range []string{"", routerA} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			h := hostOn(link, routed(1, router))
			a := run(t, h)
			run(t, hostOn(link, eth4(2)), service("b"))
			pass(time.Minute)
			cut := time.Now()
			h.Change(down(routed(1, router)))
			pass(3 * time.Second)
			require.Equal(t, "found b, lost b", a.log())
			want := time.Duration(0)
			if router != "" {
				want = 2 * time.Second
			}
			require.Equal(t, want, a.seen()[1].at-cut.Sub(a.start))
		})
	}
}

// If the router does not become known again within 2 s, nothing proves that the
// network is the same: what was known is lost, and found again.
func TestLinkBlinksUnproved(t *testing.T) {
	for _, tells := range []bool{true, false} {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			h := hostOn(link, routed(1, routerA))
			a := run(t, h, service("a"))
			run(t, hostOn(link, eth4(2)), service("b"))
			pass(time.Minute)
			h.Change(up(routed(1, "")))
			h.Silence(true)
			pass(1900 * time.Millisecond)
			require.Equal(t, "found b", a.log())
			if tells { // if no event tells, the engine looks
				h.Change(up(routed(1, routerA)))
				pass(2 * time.Second)
				require.Equal(t, "found b", a.log())
				return
			}
			pass(100 * time.Millisecond)
			require.Equal(t, "found b, lost b", a.log())
			pass(2 * time.Second)
			require.Equal(t, "found b, lost b, found b", a.log())
		})
	}
}

// A host on the link claims again and again to be the router. The node starts
// anew a few times only, and then ignores it; an honest change is acted upon at
// once, or as soon as that is over.
func TestRouterForged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, routed(1, routerA))
		a := run(t, h, service("a"))
		b := run(t, hostOn(link, eth4(2)), service("b"))
		pass(time.Minute)
		require.Equal(t, "found b", a.log())
		h.Change(routed(1, routerB))
		pass(0)
		require.Equal(t, "found b, lost b", a.log(), "lost at once")
		pass(20 * time.Minute)
		lost := func() int { return strings.Count(a.log(), "lost b") }
		require.Equal(t, 1, lost())

		for i := range 10 * 60 * 5 { // for 10 minutes
			h.Change(routed(1, fmt.Sprintf("%012x", i)))
			pass(200 * time.Millisecond)
		}
		require.LessOrEqual(t, lost()-1, 6, "after 0, 10, 30, 70, 150, 310 s")
		require.NotContains(t, b.log(), "lost a")
		before := lost()
		require.Equal(t, before+1, strings.Count(a.log(), "found b"))

		h.Change(routed(1, routerA)) // the true router
		pass(15 * time.Second)
		require.Equal(t, before+1, lost(), "lost 610 s after the first forgery")
		pass(2 * time.Second)
		require.Equal(t, []string{"b"}, names(a))
		h.Change(up(routed(1, routerB)))
		pass(0)
		require.Equal(t, before+2, lost(), "a link that was down is checked again")
	})
}

// A network that does not report its changes is looked at whenever instances
// are asked for.
func TestSilentNetwork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth(1))
		h.Silence(true)
		a := run(t, h, service("a"))
		run(t, hostOn(link, eth(2)), service("b"))
		pass(16 * time.Second)
		require.Equal(t, "found b", a.log())
		h.Unplug(2)
		pass(time.Minute) // a question is asked meanwhile
		require.Equal(t, "found b, lost b", a.log())
	})
}

// bridges gives a host bridges, ranked as the system ranks them.
func bridges(h *dnssdtest.Host, from, n int) {
	for i := range n {
		ifc := eth4(1000 + from + i)
		ifc.Index, ifc.Name, ifc.Rank = from+i, fmt.Sprintf("br%d", from+i), 3
		h.Plug(dnssdtest.NewLink(), ifc)
	}
}

// If there are not enough memberships for all interfaces, the best-ranked ones
// get them, in whatever order they come. The others are counted, and logged
// once.
func TestMemberships(t *testing.T) {
	for try := range soak.N(2, 6) {
		bubble(t, func(t *testing.T) {
			lan := dnssdtest.NewLink()
			h := dnssdtest.NewHost()
			h.Allow(20)
			bridges(h, 10, 40)
			wifi := eth4(1)
			wifi.Index, wifi.Name, wifi.Rank = 77, "wifi", 2
			cable := eth4(2)
			cable.Index, cable.Name, cable.Rank = 78, "cable", 0
			if try%2 == 0 {
				h.Plug(lan, wifi)
				h.Plug(lan, cable)
			}
			var logged lockedBuffer
			a := runWith(t, h, dnssd.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, service("a"))
			pass(time.Minute)
			if try%2 != 0 { // they displace others
				require.Len(t, a.Stats().Deaf, 20)
				h.Plug(lan, wifi)
				h.Plug(lan, cable)
			}
			b := run(t, hostOn(lan, eth4(3)), service("b"))
			pass(2 * time.Second)
			require.Equal(t, []string{"b"}, names(a))
			require.Equal(t, []string{"a"}, names(b))
			require.Equal(t, []string{"cable", "wifi"}, a.Instances()[0].Interfaces)
			deaf := a.Stats().Deaf
			require.Len(t, deaf, 22)
			require.Equal(t, []string{"br28", "br29"}, deaf[:2])
			require.Equal(t, "br49", deaf[21])
			pass(time.Hour)
			require.Equal(t, deaf, a.Stats().Deaf)
			require.Len(t, logged.lines(), 1, "one line, ever")
			require.Contains(t, logged.lines()[0], "level=WARN")
			require.Contains(t, logged.lines()[0], dnssd.ErrNoMembership.Error())

			// Some interfaces go, and others take their place.
			for i := range 20 {
				h.Unplug(10 + i)
			}
			pass(time.Minute)
			require.Len(t, a.Stats().Deaf, 2)
			require.Len(t, logged.lines(), 1)
			a.stop()
			require.Empty(t, a.Stats().Deaf)
		})
	}
}

// If there are more interfaces than can be used, the best-ranked are used, and
// stay in use.
func TestManyInterfaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		lan := dnssdtest.NewLink()
		h := dnssdtest.NewHost()
		bridges(h, 10, 70)
		a := run(t, h, service("a"))
		b := run(t, hostOn(lan, eth4(3)), service("b"))
		pass(time.Minute)
		require.Equal(t, []string{"br74", "br75", "br76", "br77", "br78", "br79"}, a.Stats().Deaf)
		cable := eth4(2)
		cable.Index, cable.Name = 90, "cable"
		h.Plug(lan, cable)
		pass(2 * time.Second)
		require.Equal(t, []string{"b"}, names(a))
		require.Equal(t, []string{"a"}, names(b))
		require.Equal(t, "br73", a.Stats().Deaf[0])
		bridges(h, 1, 1) // interfaces in use stay in use
		pass(2 * time.Second)
		require.Equal(t, []string{"br1", "br73", "br74", "br75", "br76", "br77", "br78", "br79"}, a.Stats().Deaf)
	})
}

// If joining a group fails for another reason, that is logged once it has
// lasted for a while.
func TestDeafForAWhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth(1))
		h.RefuseJoin(true)
		var logged lockedBuffer
		a := runWith(t, h, dnssd.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, service("a"))
		pass(3 * time.Second)
		require.Equal(t, []string{"eth0"}, a.Stats().Deaf)
		require.Empty(t, logged.lines()[0])
		pass(time.Hour)
		require.Len(t, logged.lines(), 1)
		require.Contains(t, logged.lines()[0], "interfaces=[eth0]")
		h.RefuseJoin(false)
		pass(31 * time.Second)
		require.Empty(t, a.Stats().Deaf)
	})
}

// The ports of a bridge are not used unless they are named: the bridge itself
// receives the packets that arrive at them.
func TestPorts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link, inner := dnssdtest.NewLink(), dnssdtest.NewLink()
		port := eth4(2)
		port.Index, port.Name, port.Port = 3, "port", true
		h := hostOn(link, eth4(1))
		h.Plug(inner, port)
		run(t, h, service("a"))
		pass(10 * time.Second)
		require.Empty(t, inner.Frames())
		runWith(t, h, dnssd.Config{Interfaces: []string{"port"}}, service("b"))
		pass(10 * time.Second)
		require.NotEmpty(t, inner.Frames())
	})
}

// If interfaces cannot be listed, listing is tried again.
func TestListingFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := &unlisted{Host: hostOn(link, eth(1))}
		h.fails.Store(true)
		var logged lockedBuffer
		a := runOn(t, h, dnssd.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, service("a"))
		pass(time.Minute)
		require.Empty(t, link.Frames())
		require.Equal(t, 1, strings.Count(strings.Join(logged.lines(), "\n"), "cannot list network interfaces"))
		h.fails.Store(false)
		pass(31 * time.Second)
		require.NotEmpty(t, link.Frames())
		require.Positive(t, a.Stats().Sent.Announcements.Packets)
		require.True(t, slices.ContainsFunc(messages(t, link, 1, time.Time{}), isProbe))
	})
}

// An unlisted host fails to list its interfaces.
type unlisted struct {
	*dnssdtest.Host
	fails atomic.Bool
}

func (u *unlisted) Interfaces() ([]dnssd.Interface, error) {
	if u.fails.Load() {
		return nil, errors.New("not now")
	}
	return u.Host.Interfaces()
}

// An interface with one family gets the other one later. Nodes that use only
// that family are found then, and not only at the next regular question.
func TestFamilyComesLater(t *testing.T) {
	for _, first := range []int{0, 1} {
		t.Run(fmt.Sprint(dnssd.Family(first)), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				link := dnssdtest.NewLink()
				only := func(n, family int) dnssd.Interface {
					ifc := eth(n)
					ifc.Addrs = ifc.Addrs[family : family+1]
					return ifc
				}
				h := hostOn(link, only(1, first))
				n := run(t, h, service("n"))
				run(t, hostOn(link, only(2, 1-first)), service("real"))
				pass(30 * time.Minute)
				require.Empty(t, names(n))
				h.Change(eth(1))
				pass(5 * time.Second)
				require.Equal(t, []string{"real"}, names(n))
			})
		})
	}
}
