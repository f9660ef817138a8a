package nettest

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

// noticed bounds the time until others see a change of the interfaces: three
// probes, and a large margin.
const noticed = 10 * time.Second

// sees waits until n knows exactly these addresses of other, and returns how
// long that took.
func (n *node) sees(since time.Time, other *node, addrs ...netip.Prefix) time.Duration {
	n.t.Helper()
	var want []string
	for _, p := range addrs {
		want = append(want, p.Addr().String())
	}
	slices.Sort(want)
	var known []string
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		known = known[:0]
		for _, c := range n.candidates(other) {
			addr, err := netip.ParseAddrPort(strings.TrimPrefix(c, "direct "))
			require.NoError(n.t, err)
			known = append(known, addr.Addr().WithZone("").String())
		}
		slices.Sort(known)
		if slices.Equal(want, known) {
			return time.Since(since)
		}
		if time.Since(began) > netlab.Patience {
			n.t.Fatalf("n knows %v, not %v", known, want)
		}
	}
}

// undisturbed checks that n has reported nothing about other since a time.
func (n *node) undisturbed(since time.Time, other *node) {
	n.t.Helper()
	for _, e := range n.Events() {
		require.False(n.t, e.At.After(since) && len(e.About) > 0 && e.About[0] == other.id, "%v", e)
	}
}

// meets has n open a stream to other, at one of these addresses.
func (n *node) meets(other *node, addrs ...netip.Prefix) {
	n.t.Helper()
	r, err := netlab.Call[echoed](n.Process, "echo", echoArgs{other.id, "hello"})
	require.NoError(n.t, err)
	require.Empty(n.t, r.DialError)
	at := r.Path.Remote.Addr().Unmap()
	require.True(n.t, slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr() == at }), "%v is not of %v", at, addrs)
}

// twoLinks is a node on a host with two interfaces, and a neighbor on each of
// the links.
type twoLinks struct {
	one, two     *netlab.Segment
	middle       *node
	left, right  *node          // on the links one and two
	onOne, onTwo []netip.Prefix // middle's addresses
	atLeft       []netip.Prefix // left's addresses
}

func newTwoLinks(t *testing.T) *twoLinks {
	lab := netlab.New(t, 3)
	lab.Disconnect()
	h := lab.Hosts
	l := &twoLinks{one: lab.Segment(1, h[0], h[1]), two: lab.Segment(2, h[0], h[2])}
	l.middle, l.left, l.right = start(t, h[0], onLAN), start(t, h[1], onLAN), start(t, h[2], onLAN)
	l.onOne, l.onTwo, l.atLeft = l.one.Prefixes(h[0], 0), l.two.Prefixes(h[0], 0), l.one.Prefixes(h[1], 0)
	l.middle.sees(time.Now(), l.left, l.atLeft...)
	l.middle.sees(time.Now(), l.right, l.two.Prefixes(h[2], 0)...)
	l.left.sees(time.Now(), l.middle, l.onOne...)
	l.right.sees(time.Now(), l.middle, l.onTwo...)
	return l
}

// rightUndisturbed checks that nothing has happened on the second link since a
// time.
func (l *twoLinks) rightUndisturbed(since time.Time) {
	l.middle.t.Helper()
	l.middle.undisturbed(since, l.right)
	l.right.undisturbed(since, l.middle)
}

// On each of its links, a node announces only the addresses of that link's
// interface (RFC 6762 §6.2).
func TestTwoLinks(t *testing.T) {
	t.Parallel()
	l := newTwoLinks(t)
	l.left.meets(l.middle, l.onOne...)
	l.right.meets(l.middle, l.onTwo...)
	l.middle.meets(l.left, l.atLeft...)
	require.Len(t, ask[[]peerInfo](l.left, "peers"), 1)
	require.Len(t, ask[[]peerInfo](l.right, "peers"), 1)
}

// RFC 6762 §8.4: an interface's new addresses replace the old ones, in each
// family.
func TestAddressChanges(t *testing.T) {
	t.Parallel()
	l := newTwoLinks(t)
	h := l.middle.host
	h.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/promote_secondaries")
	began := time.Now()
	moved := l.one.Prefixes(h, 1)
	l.one.Add(h, moved...)
	l.one.Remove(h, l.onOne...)
	took := l.left.sees(began, l.middle, moved...)
	t.Log("the neighbor knows the new addresses after", took)
	require.Less(t, took, noticed)
	l.left.meets(l.middle, moved...)

	began = time.Now()
	l.one.Remove(h, moved[1:]...) // removes IPv6
	took = l.left.sees(began, l.middle, moved[0])
	t.Log("and that there is none of IPv6 after", took)
	require.Less(t, took, noticed)
	require.Zero(t, l.middle.count("unavailable", l.left))
	require.Zero(t, l.left.count("unavailable", l.middle))
	l.rightUndisturbed(began)
}

// An interface goes down and comes up with other addresses. What the node has
// learned there is lost; the neighbor, which cannot be told, drops the old
// addresses when it hears of the new ones.
func TestInterfaceDown(t *testing.T) {
	t.Parallel()
	l := newTwoLinks(t)
	h := l.middle.host
	began := time.Now()
	l.one.Down(h)
	lost := l.middle.Await(began, "expired", l.left.id, "mdns").At.Sub(began)
	t.Log("the node drops its neighbor after", lost)
	require.Less(t, lost, noticed)

	up := time.Now()
	moved := l.one.Prefixes(h, 1)
	l.one.Up(h, moved...)
	found, known := l.middle.sees(up, l.left, l.atLeft...), l.left.sees(up, l.middle, moved...)
	t.Logf("up again, the node knows its neighbor after %v, and is known at its new addresses after %v", found, known)
	require.Less(t, max(found, known), noticed)
	l.left.meets(l.middle, moved...)
	l.middle.meets(l.left, l.atLeft...)
	require.Zero(t, l.left.count("unavailable", l.middle))
	l.rightUndisturbed(began)
}

// An interface is taken away and put back, after a while or at once: it counts
// as another one then, and works.
func TestInterfaceReplaced(t *testing.T) {
	t.Parallel()
	l := newTwoLinks(t)
	h := l.middle.host
	began := time.Now()
	l.one.Unplug(h)
	lost := l.middle.Await(began, "expired", l.left.id, "mdns").At.Sub(began)
	t.Log("the node drops its neighbor after", lost)
	require.Less(t, lost, noticed)
	for _, how := range []string{"put back", "replaced"} {
		back := time.Now()
		if how == "replaced" {
			l.one.Unplug(h)
		}
		l.one.Plug(h)
		if how == "replaced" {
			l.middle.Await(back, "expired", l.left.id, "mdns")
		}
		found := l.middle.Await(back, "discovered", l.left.id, "mdns").At.Sub(back)
		t.Logf("%s: the node knows its neighbor after %v", how, found)
		require.Less(t, found, noticed)
		l.middle.sees(back, l.left, l.atLeft...)
		l.left.sees(back, l.middle, l.onOne...)
		l.middle.meets(l.left, l.atLeft...)
	}
	require.Zero(t, l.left.count("unavailable", l.middle))
	l.rightUndisturbed(began)

	leaving := time.Now()
	l.left.Stop()
	l.middle.Await(leaving, "expired", l.left.id, "mdns") // its goodbye must be heard
}

// An interface that was down for a moment still receives packets to the group
// afterwards.
func TestInterfaceBlinks(t *testing.T) {
	t.Parallel()
	l := newTwoLinks(t)
	h := l.middle.host
	began := time.Now()
	l.one.Down(h)
	l.one.Up(h, l.onOne...)
	time.Sleep(time.Second) // until the node has looked at it
	l.middle.sees(began, l.left, l.atLeft...)
	l.left.sees(began, l.middle, l.onOne...)
	leaving := time.Now()
	l.left.Stop()
	t.Log("the neighbor's goodbye was heard after", l.middle.Await(leaving, "unavailable", l.left.id).At.Sub(leaving))
	l.rightUndisturbed(began)
}

// A default route that comes or goes changes nothing; another router means
// another network (RFC 6762 §10.3), in which nothing that was learned before
// counts.
func TestDefaultRoute(t *testing.T) {
	t.Parallel()
	l := newTwoLinks(t)
	h := l.middle.host
	began := time.Now()
	h.Run("ip", "route", "add", "default", "via", "10.78.1.250")
	time.Sleep(time.Second) // until the node has looked at it
	l.middle.undisturbed(began, l.left)

	moved := time.Now()
	h.Run("ip", "route", "replace", "default", "via", "10.78.1.251")
	lost := l.middle.Await(moved, "expired", l.left.id, "mdns").At
	found := l.middle.Await(lost, "discovered", l.left.id, "mdns").At
	t.Logf("another router is noticed after %v; the neighbor is known again %v later", lost.Sub(moved), found.Sub(lost))
	require.Less(t, found.Sub(moved), noticed)
	l.middle.sees(moved, l.left, l.atLeft...)

	settled := time.Now()
	h.Run("ip", "route", "del", "default")
	time.Sleep(time.Second)
	l.middle.undisturbed(settled, l.left)
	l.left.undisturbed(began, l.middle)
	l.rightUndisturbed(began)
}

// Two hosts are on the same two links: each knows the other's addresses on
// both, and when one link is cut, those on the other link. Neither host becomes
// unavailable meanwhile.
func TestTwoHostsOnTwoLinks(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	lab.Disconnect()
	ha, hb := lab.Hosts[0], lab.Hosts[1]
	one, two := lab.Segment(1, ha, hb), lab.Segment(2, ha, hb)
	a, b := start(t, ha, onLAN), start(t, hb, onLAN)
	both := func(h *netlab.Host) []netip.Prefix { return append(one.Prefixes(h, 0), two.Prefixes(h, 0)...) }
	a.sees(time.Now(), b, both(hb)...)
	b.sees(time.Now(), a, both(ha)...)

	cut := time.Now()
	one.Unplug(ha)
	one.Down(hb)
	atA, atB := a.sees(cut, b, two.Prefixes(hb, 0)...), b.sees(cut, a, two.Prefixes(ha, 0)...)
	t.Logf("one link is cut: addresses of the other one only after %v and %v", atA, atB)
	require.Less(t, max(atA, atB), noticed)
	a.meets(b, two.Prefixes(hb, 0)...)
	b.meets(a, two.Prefixes(ha, 0)...)

	mended := time.Now()
	one.Plug(ha)
	one.Up(hb, one.Prefixes(hb, 0)...)
	atA, atB = a.sees(mended, b, both(hb)...), b.sees(mended, a, both(ha)...)
	t.Logf("and of both again %v and %v after it was mended", atA, atB)
	require.Less(t, max(atA, atB), noticed)
	require.Zero(t, a.count("unavailable", b))
	require.Zero(t, b.count("unavailable", a))
}
