package nettest

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
)

// The tests of this file are the chapter on Docker of docs/guide.md: each of
// its claims is a line here.

// published is the host's port that leads to innerPort of a container.
const published, innerPort = 17373, 7373

// A dock is a host with containers, on a network with a device.
type dock struct {
	t            testing.TB
	host, device *netlab.Host
	bridge       *netlab.Bridge
}

func newDock(t testing.TB) *dock {
	lab := netlab.New(t, 2)
	return &dock{t, lab.Hosts[0], lab.Hosts[1], lab.Hosts[0].Bridge(1)}
}

// outer is where others reach the published port.
func (d *dock) outer() netip.AddrPort { return netip.AddrPortFrom(d.host.Addr4(), published) }

// seeded is a configuration with a key that a restart does not change.
func seeded(cfg nodeConfig, seed byte) nodeConfig {
	cfg.Seed = bytes.Repeat([]byte{seed}, identity.SeedSize)
	return cfg
}

// idOf returns the identity that such a key has.
func idOf(t testing.TB, seed byte) string {
	key, err := identity.FromSeed(bytes.Repeat([]byte{seed}, identity.SeedSize))
	require.NoError(t, err)
	return key.Remote().String()
}

// way has n exchange a stream with other, and returns the way that it took.
func (n *node) way(other *node) p2p.Path {
	n.t.Helper()
	r, err := netlab.Call[echoed](n.Process, "echo", echoArgs{other.id, "from " + n.id})
	require.NoError(n.t, err)
	require.Empty(n.t, r.DialError)
	return r.Path
}

// setManual has n look for peers at these addresses only.
func (n *node) setManual(addrs ...string) {
	n.t.Helper()
	_, err := netlab.Call[none](n.Process, "set manual", addrs)
	require.NoError(n.t, err)
}

// ids returns the identities of the peers of n, in order.
func (n *node) ids() (ids []string) {
	for _, p := range ask[[]peerInfo](n, "peers") {
		ids = append(ids, p.Identity)
	}
	slices.Sort(ids)
	return ids
}

func sorted(nodes ...*node) (ids []string) {
	for _, n := range nodes {
		ids = append(ids, n.id)
	}
	slices.Sort(ids)
	return ids
}

// Discovery works among the containers of one network and the programs of their
// host, and does not leave the host. A program in the host's network is one of
// the host's.
func TestContainersDiscover(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	one, two := start(t, d.bridge.Container(), onLAN), start(t, d.bridge.Container(), onLAN)
	host, device := start(t, d.host, onLAN), start(t, d.device, onLAN)
	inside := []*node{one, two, host}
	for _, a := range inside {
		for _, b := range inside {
			if a != b {
				a.discovers(b, "mdns")
			}
		}
	}
	require.Equal(t, two.host.Addr4(), one.way(two).Remote.Addr())
	require.Equal(t, one.host.Addr4(), host.way(one).Remote.Addr())
	require.Equal(t, d.bridge.Addr(), two.way(host).Remote.Addr())

	host.discovers(device, "mdns")
	device.discovers(host, "mdns")
	require.True(t, d.host.Owns(device.way(host).Remote.Addr()))
	found, err := netlab.Call[[]scanned](device.Process, "scan", scanArgs{}) // by when any other would have answered
	require.NoError(t, err)
	var answered []string
	for _, s := range found {
		answered = append(answered, s.Identity)
	}
	require.ElementsMatch(t, sorted(host, device), answered)
	require.Equal(t, sorted(host), device.ids())
	for _, container := range []*node{one, two} {
		for _, id := range container.ids() {
			require.NotEqual(t, device.id, id)
		}
	}
	require.Equal(t, sorted(one, two, device), host.ids())
}

// Two containers with one key, as those of an image that has it, are one node:
// the later one says so.
func TestContainersOfOneKey(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	one, two := start(t, d.bridge.Container(), seeded(onLAN, 'k')), start(t, d.bridge.Container(), seeded(onLAN, 'k'))
	require.Equal(t, one.id, two.id)
	host := start(t, d.host, onLAN)
	until(t, func() bool { return ask[string](one, "conflict")+ask[string](two, "conflict") != "" })
	host.discovers(one, "mdns")
	require.Equal(t, sorted(one), host.ids())
}

// A container reaches a device by its address, with nothing published. The
// device sees it at its host's address, and can call it as long as they are
// connected.
func TestContainerCallsOut(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	device := start(t, d.device, nodeConfig{Name: "device", QUIC: true, Port: innerPort, Open: true, Idle: 3 * time.Second})
	container := start(t, d.bridge.Container(), nodeConfig{Name: "container", QUIC: true, Idle: 3 * time.Second})
	container.setManual(d.device.Addr4().String())
	container.discovers(device, "quic")
	device.Await(time.Time{}, "available", container.id)
	path := container.way(device)
	require.Equal(t, p2p.Path{Kind: p2p.Manual, Dialed: true, Remote: netip.AddrPortFrom(d.device.Addr4(), innerPort)}, path)
	path = device.way(container)
	require.Equal(t, d.host.Addr4(), path.Remote.Addr())
	require.Equal(t, p2p.Path{Kind: p2p.Direct, Remote: path.Remote}, path)
	name := func() string { return ask[[]peerInfo](device, "peers")[0].Name }
	require.Equal(t, "container", name())

	// Of two that know each other, and have no time-out, neither is ever gone.
	kept := func(h *netlab.Host, seed, other byte, manual ...string) *node {
		return start(t, h, seeded(nodeConfig{QUIC: true, Port: 7400, Idle: -1, Track: []string{idOf(t, other)}, Manual: manual}, seed))
	}
	awaits := kept(d.device, 'd', 'c')
	calls := kept(d.bridge.Container(), 'c', 'd', netip.AddrPortFrom(d.device.Addr4(), 7400).String())
	calls.discovers(awaits, "quic")
	awaits.Await(time.Time{}, "available", calls.id)

	began := time.Now()
	device.Await(began, "unavailable", container.id) // the connection was idle
	container.way(device)
	back := device.Await(began, "available", container.id).At
	device.way(container)
	device.Await(back, "unavailable", container.id) // and once more, by when the other one would have been
	require.Zero(t, awaits.count("disconnected", calls))
	awaits.way(calls)
}

// A device reaches a container at a published port of its host, which need not
// be the container's own port. The container sees the device's own address.
func TestContainerIsCalled(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	container := start(t, d.bridge.Container(), nodeConfig{Name: "container", QUIC: true, Port: innerPort, Open: true})
	d.bridge.Publish(published, container.host, innerPort)
	device := start(t, d.device, nodeConfig{Name: "device", QUIC: true, Port: 7400})
	device.setManual(d.outer().String())
	device.discovers(container, "quic")
	container.Await(time.Time{}, "available", device.id)
	require.Equal(t, p2p.Path{Kind: p2p.Manual, Dialed: true, Remote: d.outer()}, device.way(container))
	require.Equal(t, p2p.Path{Kind: p2p.Direct, Remote: netip.AddrPortFrom(d.device.Addr4(), 7400)}, container.way(device))
	require.Equal(t, "container", ask[[]peerInfo](device, "peers")[0].Name)

	// Each has the other's address: one peer, and either can begin.
	container.setManual(netip.AddrPortFrom(d.device.Addr4(), 7400).String())
	container.discovers(device, "quic")
	until(t, func() bool { return container.manual().Identity == device.id })
	require.Equal(t, sorted(container), device.ids())
	require.Equal(t, sorted(device), container.ids())
	for _, n := range []*node{device, container} {
		other := map[*node]*node{device: container, container: device}[n]
		for range 3 { // a new connection each time
			r, err := netlab.Call[connected](n.Process, "connect", connectArgs{Peer: other.id, Within: 10 * time.Second})
			require.NoError(t, err)
			require.Empty(t, r.Err)
		}
	}
}

// A container that is restarted with the same key, and gets another address, is
// reached again where it was; so are those that it calls.
func TestContainerRestarts(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	served := seeded(nodeConfig{QUIC: true, Port: innerPort, Open: true}, 's')
	calling := seeded(nodeConfig{QUIC: true, Open: true, Manual: []string{d.device.Addr4().String()}}, 'c')
	device := start(t, d.device, nodeConfig{QUIC: true, Port: innerPort, Open: true, Manual: []string{d.outer().String()}})
	var server, caller *node
	for round := range 3 {
		hosts := []*netlab.Host{d.bridge.Container(), d.bridge.Container()}
		d.bridge.Publish(published, hosts[0], innerPort)
		began := time.Now()
		server, caller = start(t, hosts[0], served), start(t, hosts[1], calling)
		took := device.reaches(server.id, began)
		t.Logf("round %d: reached %v after its start", round, took)
		require.Less(t, took, 10*time.Second) // before the old connection is missed
		require.Equal(t, d.outer(), device.way(server).Remote)
		caller.discovers(device, "quic")
		caller.way(device)
		require.Equal(t, d.host.Addr4(), device.way(caller).Remote.Addr())
		require.Equal(t, sorted(server, caller), device.ids())
		for i, n := range []*node{server, caller} {
			n.Kill()
			d.bridge.Remove(hosts[i])
		}
	}
}

// A ticket of a container has the container's address, with which a device can
// do nothing; with the address of its host, it works.
func TestContainerInvites(t *testing.T) {
	t.Parallel()
	d := newDock(t)
	container := start(t, d.bridge.Container(), nodeConfig{Name: "container", QUIC: true, Port: innerPort, Pairs: true})
	d.bridge.Publish(published, container.host, innerPort)
	device := start(t, d.device, nodeConfig{Name: "device", QUIC: true, Pairs: true})
	own, err := netlab.Call[invited](container.Process, "invite", inviteArgs{})
	require.NoError(t, err)
	require.Equal(t, []netip.AddrPort{netip.AddrPortFrom(container.host.Addr4(), innerPort)}, own.Addrs)
	ticket, err := netlab.Call[invited](container.Process, "invite", inviteArgs{Addrs: []string{d.outer().String()}})
	require.NoError(t, err)
	t.Logf("paired after %v", device.joins(container, ticket.Ticket))

	// A container that joins by a device's ticket needs nothing published.
	another := start(t, d.bridge.Container(), nodeConfig{Name: "another", QUIC: true, Pairs: true})
	ticket, err = netlab.Call[invited](device.Process, "invite", inviteArgs{})
	require.NoError(t, err)
	require.Equal(t, d.device.Addr4(), ticket.Addrs[0].Addr())
	t.Logf("paired after %v", another.joins(device, ticket.Ticket))
}

// joins has n join by a ticket of other, and returns how long that took.
func (n *node) joins(other *node, ticket string) time.Duration {
	n.t.Helper()
	took, err := netlab.Call[time.Duration](n.Process, "join", joinArgs{ticket})
	require.NoError(n.t, err)
	other.Await(time.Time{}, "joined", n.id)
	return took
}
