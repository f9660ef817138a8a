package nettest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/proto"
)

// All implementations find each other, with the whole TXT record and the
// addresses of both families; browsers that were there before see a new node
// come, and hear its goodbye.
func TestOtherImplementations(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 4)
	o := newOthers(t, lab)
	d, byD := startOdd(t, lab.Hosts[3])
	cfg, byC := oddConfig(t, lab.Hosts[2])
	c := start(t, lab.Hosts[2], cfg)
	var found, gone [3]sample // at avahi, at zeroconf, and at a node
	for range 3 {
		began := c.Await(time.Time{}, "starting").At
		for i, at := range []time.Time{o.avahiSees(began, byC), o.zeroconfSees(began, byC), d.finds(began, byC)} {
			found[i] = append(found[i], at.Sub(began))
		}
		c.Stop()
		left := c.Await(began, "stopping").At
		lost := d.Await(left, "expired", c.id, "mdns").At
		for i, at := range []time.Time{o.avahiMisses(left, byC), o.zeroconfMisses(left, byC), lost} {
			gone[i] = append(gone[i], at.Sub(left))
		}
		c = start(t, lab.Hosts[2], cfg)
	}
	t.Log("found by avahi, zeroconf and a node, after the node's start:", found)
	t.Log("gone there after its shutdown:", gone)
	nodes := []*node{c, d}
	o.all(nodes, []*announcement{byC, byD})

	// Announcements that others withdraw are gone, too. If a client of avahi
	// was killed, avahi withdraws them.
	left := o.zeroconf.Quit()
	o.avahiMisses(left, o.byZeroconf)
	for _, n := range nodes {
		t.Log("gone after zeroconf was told to end:", n.Await(left, "expired", o.byZeroconf.label, "mdns").At.Sub(left))
	}
	left = o.publish.Kill()
	for _, n := range nodes {
		t.Log("gone after avahi-publish was killed:", n.Await(left, "expired", o.byAvahi.label, "mdns").At.Sub(left))
	}
}

// Browsers that start later find the nodes that are there. Announcements of an
// avahi are gone when it stops, and found again when it is back; and it finds
// the nodes again.
func TestLaterBrowsers(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 4)
	c, byC := startOdd(t, lab.Hosts[2])
	d, byD := startOdd(t, lab.Hosts[3])
	nodes, announced := []*node{c, d}, []*announcement{byC, byD}
	c.finds(time.Time{}, byD)
	d.finds(time.Time{}, byC)
	o := newOthers(t, lab)
	o.all(nodes, announced)

	stopped := o.avahi.Stop() // its clients end by themselves
	for _, n := range nodes {
		t.Log("gone after avahi was told to end:", n.Await(stopped, "expired", o.byAvahi.label, "mdns").At.Sub(stopped))
	}
	o.zeroconfMisses(stopped, o.byAvahi)
	began := time.Now()
	o.avahi.Start(t)
	o.startAvahiClients()
	for _, n := range nodes {
		n.finds(began, o.byAvahi)
	}
	o.zeroconfSees(began, o.byAvahi)
	t.Log("found by avahi after its start:", o.avahiSees(began, byC).Sub(began), o.avahiSees(began, byD).Sub(began))
	o.zeroconf.Quit()
	began = time.Now()
	o.startZeroconf()
	t.Log("found by zeroconf after its start:", o.zeroconfSees(began, byC).Sub(began), o.zeroconfSees(began, byD).Sub(began))
	o.all(nodes, announced)
}

// A node on the host of avahi, one on that of zeroconf, and one beside
// processes that only read find all others and are found, although a unicast
// packet reaches only one of the sockets on port 5353. Processes that only read
// are not in the way.
func TestSharedPort(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 4)
	o := newOthers(t, lab)
	o.avahi.Publish(t, `from avahi, Zoë "\`, browsedType, "1", "k=v")
	read := func() {
		lab.Hosts[2].Tool(t, nil, "/usr/bin/python3", "-c", silentReader).Await(time.Time{}, "reading")
	}
	var nodes []*node
	var announced []*announcement
	add := func(h *netlab.Host) {
		n, a := startOdd(t, h)
		nodes, announced = append(nodes, n), append(announced, a)
	}
	read() // started before and after the node, since the kernel may prefer either socket
	for _, h := range lab.Hosts[:3] {
		add(h)
	}
	read()
	add(lab.Hosts[3])
	o.all(nodes, announced)
	for _, n := range nodes {
		require.Len(t, ask[[]peerInfo](n, "peers"), 5)
	}
}

// A node whose interface was down recovers by itself: it finds all others
// again, and they learn its changes.
func TestLinkDown(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 4)
	o := newOthers(t, lab)
	c, byC := startOdd(t, lab.Hosts[2])
	d, byD := startOdd(t, lab.Hosts[3])
	o.all([]*node{c, d}, []*announcement{byC, byD})

	down := time.Now()
	c.host.LinkDown()
	for _, a := range []*announcement{o.byAvahi, o.byZeroconf, byD} {
		c.Await(down, "expired", a.label, "mdns")
	}
	require.Empty(t, ask[[]peerInfo](c, "peers"))
	c.set(byC, "state", "back again")
	up := time.Now()
	c.host.LinkUp()
	for _, a := range []*announcement{o.byAvahi, o.byZeroconf, byD} {
		t.Log("found again after the interface came up:", c.finds(up, a).Sub(up))
	}
	avahi, zeroconf := o.avahiSeesChange(byC, "back again"), o.zeroconfSees(up, byC, "back again")
	t.Log("seen again by avahi and zeroconf after:", avahi.Sub(up), zeroconf.Sub(up))
	d.Await(up, "modified", c.id)
	d.finds(time.Time{}, byC)

	c.host.LinkDown() // for less time than between two looks at the interfaces
	c.host.LinkUp()
	c.set(byC, "state", "still here")
	o.avahiSeesChange(byC, "still here")
	o.zeroconfSees(up, byC, "still here")
	until(t, func() bool { return d.peer(c.id).Metadata["state"] == "still here" })
	d.set(byD, "state", "here, too")
	until(t, func() bool { return c.peer(d.id).Metadata["state"] == "here, too" })
}

// A change of the metadata is seen by avahi and zeroconf, and once by a node,
// whether or not that is connected: although it is announced twice, over IPv4
// and IPv6, and also sent over the connection.
func TestMetadataChange(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 5)
	o := newOthers(t, lab)
	c, byC := startOdd(t, lab.Hosts[2])
	apart, byApart := startOdd(t, lab.Hosts[3])
	connected, byConnected := startOdd(t, lab.Hosts[4])
	nodes := []*node{apart, connected}
	o.all([]*node{c, apart, connected}, []*announcement{byC, byApart, byConnected})
	connected.echoes(c)
	connected.Await(time.Time{}, "modified", c.id) // the metadata is verified now
	const changes = 3
	var sent uint64
	began := time.Now()
	for i := range changes {
		at := time.Now()
		sent = ask[mdns.Stats](c, "stats").Sent.Announcements.Packets
		value := fmt.Sprint("change ", i)
		c.set(byC, "state", value)
		avahi, zeroconf := o.avahiSeesChange(byC, value), o.zeroconfSees(at, byC, value)
		t.Log("seen by avahi and zeroconf after:", avahi.Sub(at), zeroconf.Sub(at))
		for _, n := range nodes {
			t.Log("seen by a node after:", n.Await(at, "modified", c.id).At.Sub(at))
			n.finds(time.Time{}, byC)
		}
	}
	until(t, func() bool { return ask[mdns.Stats](c, "stats").Sent.Announcements.Packets >= sent+4 })
	require.False(t, apart.peer(c.id).Connected)
	require.True(t, connected.peer(c.id).Connected)
	for _, n := range nodes {
		var modified []netlab.Event
		for _, e := range n.Events() {
			if e.Name == "modified" && e.About[0] == c.id && !e.At.Before(began) {
				modified = append(modified, e)
			}
		}
		require.Len(t, modified, changes)
	}
}

// The largest possible metadata arrives everywhere completely: 128 entries, 64
// of them libraries, 8136 of 8192 bytes. Its TXT record goes alone in a packet
// of almost 8 KiB, which makes six fragments on a link of 1500 bytes (RFC 6762
// §17); nodes, avahi and zeroconf all read packets of that size.
func TestLargeMetadata(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 4)
	o := newOthers(t, lab)
	cfg, byC := oddConfig(t, lab.Hosts[2])
	for i := range p2p.MaxLibraries {
		cfg.Metadata[fmt.Sprintf("d66e0000-0000-4000-8000-%012x", i)] = identity.New().Remote().String()
	}
	for len(announcedTXT(cfg)) <= proto.MaxMetadataEntries { // the entry sdp2p is not counted
		cfg.Metadata[fmt.Sprintf("further-%02d", len(cfg.Metadata))] = strings.Repeat("ë", 17)
	}
	byC.txt = announcedTXT(cfg)
	d, byD := startOdd(t, lab.Hosts[3])
	c := start(t, lab.Hosts[2], cfg)
	began := c.Await(time.Time{}, "starting").At
	found, avahi, zeroconf := d.finds(began, byC), o.avahiSees(began, byC), o.zeroconfSees(began, byC)
	t.Log("found by a node, avahi and zeroconf after:", found.Sub(began), avahi.Sub(began), zeroconf.Sub(began))
	o.all([]*node{c, d}, []*announcement{byC, byD})
	sent := ask[mdns.Stats](c, "stats").Sent.Announcements
	require.Greater(t, sent.Bytes/sent.Packets, uint64(1500)) // those with the TXT record

	c.Stop() // the goodbye does not contain the TXT record
	left := c.Await(began, "stopping").At
	found, avahi, zeroconf = d.Await(left, "expired", c.id, "mdns").At, o.avahiMisses(left, byC), o.zeroconfMisses(left, byC)
	t.Log("gone there after:", found.Sub(left), avahi.Sub(left), zeroconf.Sub(left))
}
