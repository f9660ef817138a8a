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

// The tests in this file belong to the chapter about Docker in docs/guide.md:
// each of its claims is checked here.

// published is the host's port that leads to a container's innerPort.
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

// outer is the address at which others reach the published port.
func (d *dock) outer() netip.AddrPort { return netip.AddrPortFrom(d.host.Addr4(), published) }

// seeded returns a configuration with a key that survives a restart.
func seeded(cfg nodeConfig, seed byte) nodeConfig {
	cfg.Seed = bytes.Repeat([]byte{seed}, identity.SeedSize)
	return cfg
}

// idOf returns the identity of such a key.
func idOf(t testing.TB, seed byte) string {
	key, err := identity.FromSeed(bytes.Repeat([]byte{seed}, identity.SeedSize))
	require.NoError(t, err)
	return key.Remote().String()
}

// way has n exchange a stream with other, and returns the path of the stream.
func (n *node) way(other *node) p2p.Path {
	n.t.Helper()
	r, err := netlab.Call[echoed](n.Process, "echo", echoArgs{other.id, "from " + n.id})
	require.NoError(n.t, err)
	require.Empty(n.t, r.DialError)
	return r.Path
}

// setManual makes these addresses the manual peers of n.
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

// Discovery works among the containers of one network and the programs on their
// host, and does not leave the host. A container in the host's network counts
// as one of the host's programs.
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
	found, err := netlab.Call[[]scanned](device.Process, "scan", scanArgs{}) // others would have answered
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

// Two containers with one key, such as containers of an image that contains the
// key, are one node: the later one reports that.
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

// A container reaches a device by its address, without any published port. The
// device sees it at its host's address, and can open streams to it as long as
// they are connected.
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

	// Two nodes that track each other, without an idle time-out, never lose
	// each other.
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
	device.Await(back, "unavailable", container.id) // and once more, later
	require.Zero(t, awaits.count("disconnected", calls))
	awaits.way(calls)
}

// A device reaches a container at a published port of its host, which may
// differ from the container's own port. The container sees the device's own
// address.
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

	// Each node has the other's address: each has one peer, and either can
	// connect.
	container.setManual(netip.AddrPortFrom(d.device.Addr4(), 7400).String())
	container.discovers(device, "quic")
	until(t, func() bool { return container.manual().Identity == device.id })
	require.Equal(t, sorted(container), device.ids())
	require.Equal(t, sorted(device), container.ids())
	for _, n := range []*node{device, container} {
		other := map[*node]*node{device: container, container: device}[n]
		for range 3 { // with a new connection each time
			r, err := netlab.Call[connected](n.Process, "connect", connectArgs{Peer: other.id, Within: 10 * time.Second})
			require.NoError(t, err)
			require.Empty(t, r.Err)
		}
	}
}

// A container that is restarted with the same key, and gets another address, is
// reached again at the same published port; and it reaches its own peers again.
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
		require.Less(t, took, 10*time.Second) // sooner than the old connection would time out
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

// A container's ticket contains the container's own address, which is of no use
// to a device; with the address of the host, it works.
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

	// A container that joins by a device's ticket needs no published port.
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
