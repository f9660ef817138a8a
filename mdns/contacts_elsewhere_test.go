package mdns

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// shows reports whether a label was sent on a link.
func shows(label string, l *dnssdtest.Link) bool {
	return slices.ContainsFunc(l.Frames(), func(f dnssdtest.Frame) bool { return bytes.Contains(f.Data, []byte(label)) })
}

// After a change of network, nothing that was announced in the old network
// appears in the new one; not even in a goodbye.
func TestNewNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, cafe := dnssdtest.NewLink(), dnssdtest.NewLink()
		a, b := identity.New(), identity.New()
		ca := newCircle(t, a, b.Remote())
		ma := hide(t, home, 1, ca, ContactsOnly)
		pass(time.Minute)
		old := ca.shown
		ifc := eth6(1)
		ifc.Addrs[0] = netip.MustParsePrefix("192.168.0.7/24")
		ma.host.Unplug(2)
		ma.host.Plug(cafe, ifc)
		pass(10 * time.Second)
		require.NotEmpty(t, cafe.Frames())
		require.False(t, shows(old.Label, cafe), "the contacts have not changed the label yet")
		require.Equal(t, 1, ca.askedElsewhere(), "the contacts are told once")
		middle := ca.rotate()
		pass(10 * time.Second)
		require.False(t, shows(old.Label, cafe))
		require.True(t, shows(middle.Label, cafe))

		// The contacts notice the change first.
		ma.host.Silence(true)
		ma.host.Unplug(2)
		ma.host.Plug(home, eth6(1))
		home.Forget()
		latest := ca.rotate()
		pass(10 * time.Second)
		require.True(t, shows(latest.Label, home))
		require.False(t, shows(middle.Label, home))
		ma.host.Silence(false)
	})
}

// Back in the same network, the announcement returns, once the router proves
// that it is the same network, which may take a moment.
func TestSameNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := dnssdtest.NewLink()
		a, b := identity.New(), identity.New()
		ca := newCircle(t, a, b.Remote())
		ma := hide(t, home, 1, ca, ContactsOnly)
		atHome := eth6(1)
		atHome.Gateway, atHome.GatewayLink = addrOf(77), "02:77"
		ma.host.Plug(home, atHome)
		latest := ca.rotate()
		pass(10 * time.Second)
		for _, known := range []bool{true, false} {
			home.Forget()
			before := ca.askedElsewhere()
			ma.host.Unplug(2)
			pass(5 * time.Second)
			back := atHome
			if !known {
				back.GatewayLink = ""
			}
			ma.host.Plug(home, back)
			pass(time.Second)
			require.Equal(t, known, shows(latest.Label, home))
			ma.host.Plug(home, atHome)
			pass(5 * time.Second)
			require.True(t, shows(latest.Label, home), "the network is the same")
			require.Equal(t, before, ca.askedElsewhere())
		}
		ma.host.Unplug(2)
		before := ca.askedElsewhere()
		pass(5 * time.Second)
		atHome.GatewayLink = ""
		ma.host.Plug(home, atHome)
		pass(1900 * time.Millisecond)
		require.Equal(t, before, ca.askedElsewhere())
		pass(200 * time.Millisecond)
		require.Equal(t, before+1, ca.askedElsewhere(), "nothing proves that the network is the same")
	})
}

// An interface that comes up later shows nothing that was announced before: the
// contacts are asked to show something else. If only the router shows that one
// of two networks has changed, which the engine assumes only for a time, the
// contacts tell the engine.
func TestFurtherInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, more := dnssdtest.NewLink(), dnssdtest.NewLink()
		a, b := identity.New(), identity.New()
		ca := newCircle(t, a, b.Remote())
		ma := hide(t, home, 1, ca, ContactsOnly)
		pass(time.Minute)
		further := eth6(1)
		further.Index, further.Name = 3, "eth1"
		ma.host.Plug(more, further)
		pass(5 * time.Second)
		require.Equal(t, 1, ca.askedElsewhere())
		require.Empty(t, sentResponses(t, more))
		shown := ca.rotate()
		pass(5 * time.Second)
		require.Equal(t, 1, ca.askedElsewhere())
		require.NotEmpty(t, sentResponses(t, more))

		// Judged only by its router, home changes into another network again
		// and again.
		routed := eth6(1)
		for i := range 3 {
			routed.Gateway, routed.GatewayLink = addrOf(77), fmt.Sprintf("02:%02d", i)
			home.Forget()
			ma.host.Plug(home, routed)
			pass(100 * time.Millisecond)
			before := shown.Label
			shown = ca.rotate() // at another port
			pass(5 * time.Second)
			for _, f := range home.Frames() {
				require.False(t, i > 0 && strings.Contains(string(f.Data), before), "no goodbye in another network")
			}
			require.NotEmpty(t, sentResponses(t, home))
		}
	})
}

// An announcement has addresses of the enabled families only.
func TestFamilies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a, b := identity.New(), identity.New()
		ca, cb := newCircle(t, a, b.Remote()), newCircle(t, b, a.Remote())
		hide(t, link, 1, ca, ContactsOnly)
		hide(t, link, 2, cb, ContactsOnly)
		shown := ca.shown
		for _, on := range []struct{ ipv4, ipv6 bool }{{true, true}, {true, false}, {false, true}, {false, false}, {true, true}} {
			shown.At.IPv4, shown.At.IPv6 = on.ipv4, on.ipv6
			ca.show(shown, true)
			pass(5 * time.Second)
			got := struct{ ipv4, ipv6 bool }{}
			for _, at := range cb.at(shown.Label) {
				got.ipv4 = got.ipv4 || at.Addr().Is4()
				got.ipv6 = got.ipv6 || at.Addr().Is6()
			}
			require.Equal(t, on, got)
		}
	})
}

// sentResponses returns the responses that were sent on a link.
func sentResponses(t testing.TB, l *dnssdtest.Link) (list []*dns.Msg) {
	for _, m := range sent(t, l.Frames(), 0) {
		if m.Response {
			list = append(list, m)
		}
	}
	return list
}

// An announcement that was due while a link was down is made in the network to
// which the link then leads.
func TestShownWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := dnssdtest.NewLink()
		a, b := identity.New(), identity.New()
		ca := newCircle(t, a, b.Remote())
		atHome := eth6(1)
		atHome.Gateway, atHome.GatewayLink = addrOf(77), "02:77"
		ma := hide(t, home, 1, ca, ContactsOnly)
		ma.host.Plug(home, atHome)
		pass(time.Minute)
		down := atHome
		down.Up = false
		ma.host.Plug(home, down)
		pass(100 * time.Millisecond)
		fresh := ca.rotate()
		pass(1500 * time.Millisecond)
		require.False(t, shows(fresh.Label, home))
		cafe := dnssdtest.NewLink()
		back := atHome
		back.GatewayLink, back.Ups = "02:99", 1
		before := ca.askedElsewhere()
		ma.host.Plug(cafe, back)
		pass(time.Second)
		require.True(t, shows(fresh.Label, cafe))
		require.Equal(t, before, ca.askedElsewhere())
	})
}
