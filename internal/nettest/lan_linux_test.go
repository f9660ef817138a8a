package nettest

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

// onLAN is the configuration of a node as most apps run it.
var onLAN = nodeConfig{Name: "Zoë's node", QUIC: true, MDNS: true}

// Two nodes on two hosts find each other without any configuration, each opens
// a stream to the other, and when one leaves, the other one notices. The
// figures are in the test's log: run it with -v.
func TestFindEachOther(t *testing.T) {
	lab := netlab.New(t, 2)
	first := start(t, lab.Hosts[0], onLAN)
	var found, gone, shutdown sample
	for range 20 {
		later := start(t, lab.Hosts[1], onLAN)
		began := later.Await(time.Time{}, "starting").At
		both := first.discovers(later, "mdns")
		if at := later.discovers(first, "mdns"); at.After(both) {
			both = at
		}
		found = append(found, both.Sub(began))
		first.echoes(later)
		later.echoes(first)

		later.Stop()
		leaving := later.Await(began, "stopping").At
		gone = append(gone, first.Await(leaving, "unavailable", later.id).At.Sub(leaving))
		shutdown = append(shutdown, later.Await(leaving, "stopped").At.Sub(leaving))
	}
	require.Empty(t, ask[[]peerInfo](first, "peers"))
	t.Log("both know each other after the later one's start:", found)
	t.Log("gone after a clean shutdown:", gone)
	t.Log("the shutdown took:", shutdown)
}

// A node that was killed sends no goodbye. Its connection is lost after 15 s of
// silence; discovery would show the node for up to two minutes, but since a
// failed dial makes it ask again, the peer is gone about 10 s after that.
func TestKilledOnLAN(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	a := start(t, lab.Hosts[0], onLAN)
	b := start(t, lab.Hosts[1], onLAN)
	a.discovers(b, "mdns")
	a.echoes(b)

	killed := b.Kill()
	lost := a.Await(killed, "disconnected", b.id, "quic").At
	require.Less(t, lost.Sub(killed), vanished)
	r, err := netlab.Call[echoed](a.Process, "echo", echoArgs{b.id, "is anybody there?"})
	require.NoError(t, err)
	require.Contains(t, r.DialError, lab.Hosts[1].Addr4().String())
	failed := time.Now()
	gone := a.Await(lost, "unavailable", b.id).At
	require.Less(t, gone.Sub(failed), 15*time.Second)
	t.Logf("disconnected %v after the kill; the dial failed after %v; gone %v after that", lost.Sub(killed), failed.Sub(lost), gone.Sub(failed))
}

// A node on a host without any network starts, knows no peer, and shuts down;
// another one joins the network as soon as there is one. It logs once that
// there is no network, and once that there is one.
func TestNetworkComesLater(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	alone := lab.Hosts[1]
	lab.Disconnect()
	alone.Run("ip", "link", "set", "lo", "down")
	a := start(t, alone, onLAN)
	require.Empty(t, ask[[]peerInfo](a, "peers"))
	a.Stop()

	a = start(t, alone, onLAN)
	b := start(t, lab.Hosts[0], onLAN)
	require.Empty(t, ask[[]peerInfo](a, "peers"))
	until(t, func() bool { return a.logs("discovery finds nobody") == 1 })
	require.Zero(t, a.logs("discovery has a network interface"))
	up := time.Now()
	lab.Connect()
	t.Logf("found %v and %v after the interfaces came up", a.discovers(b, "mdns").Sub(up), b.discovers(a, "mdns").Sub(up))
	a.echoes(b)
	b.echoes(a)
	require.Equal(t, 1, a.logs("discovery has a network interface"))
	require.Equal(t, 1, a.logs("level=WARN"))
}

// A named interface that does not exist and a missing listener lead to one
// warning each.
func TestSilenceIsSaid(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	wrong := onLAN
	wrong.Interfaces = []string{"eth7", netlab.Interface}
	a, b := start(t, lab.Hosts[0], wrong), start(t, lab.Hosts[1], nodeConfig{MDNS: true})
	until(t, func() bool { return a.logs("missing=eth7") == 1 && b.logs("nobody finds this node") == 1 })
	b.discovers(a, "mdns")
	require.Equal(t, []int{1, 1}, []int{a.logs("level=WARN"), b.logs("level=WARN")})
}

// A scan sees every node, with its metadata and its addresses, without being a
// node.
func TestScan(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	scanner := start(t, lab.Hosts[1], nodeConfig{MDNS: true}) // it announces nothing
	nodes := map[string]*node{}
	for range 8 {
		n := start(t, lab.Hosts[0], onLAN)
		nodes[n.id] = n
	}
	for _, n := range nodes {
		scanner.discovers(n, "mdns") // from now on it answers
	}
	scan := func(args scanArgs) {
		t.Helper()
		found, err := netlab.Call[[]scanned](scanner.Process, "scan", args)
		require.NoError(t, err)
		require.Len(t, found, len(nodes))
		for _, s := range found {
			require.Contains(t, nodes, s.Identity)
			require.Equal(t, onLAN.Name, s.Metadata["name"])
			require.True(t, mentions(s.Addrs, lab.Hosts[0].Addr4()), s.Addrs)
		}
	}
	scan(scanArgs{netlab.Interface})
	scan(scanArgs{})
}

// A key was copied to a second device. The later of the two reports that, with
// the other's address, and stays silent, so that a third node still sees the
// first one. When the first one leaves, the second one takes its place.
func TestSameKeyTwice(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	copied := onLAN
	copied.Seed = make([]byte, 32)
	first := start(t, lab.Hosts[0], copied)
	third := start(t, lab.Hosts[2], onLAN)
	third.discovers(first, "mdns")
	third.echoes(first)

	second := start(t, lab.Hosts[1], copied)
	both := []*node{first, second}
	var says []string
	until(t, func() bool {
		says = says[:0]
		for _, n := range both {
			says = append(says, ask[string](n, "conflict"))
		}
		return says[0]+says[1] != ""
	})
	t.Logf("conflicts: %q", says)
	for i, addr := range says {
		if addr != "" {
			require.True(t, ownsText(both[1-i].host, addr), "%q of host %d is not the other's", addr, i)
		}
	}

	time.Sleep(11 * time.Second) // it tries again every 5 s, to no effect
	began := second.Await(time.Time{}, "starting").At
	for _, e := range third.Events() {
		idle := e.Name == "disconnected" || e.Name == "modified" // strangers' connections end after 10 s
		require.True(t, idle || e.At.Before(began), "%v: there is nothing new", e)
	}
	third.echoes(first)

	first.Stop()
	until(t, func() bool {
		peers := ask[[]peerInfo](third, "peers")
		return len(peers) == 1 && mentions(peers[0].Candidates, lab.Hosts[1].Addr4())
	})
	third.echoes(second)
}

// Twenty nodes on one host, which share an address, are connected to one node
// at the same time. (By default, go-libp2p allows eight.)
func TestManyNodesOfOneHost(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	one := start(t, lab.Hosts[0], nodeConfig{QUIC: true, Port: 7373})
	many := make([]*node, 20)
	for i := range many {
		many[i] = &node{t: t, host: lab.Hosts[1]}
		many[i].Process = lab.Hosts[1].Start(t, nodeConfig{QUIC: true, Manual: []string{lab.Hosts[0].Addr4().String()}})
	}
	for _, n := range many {
		n.id = n.Await(time.Time{}, "started").About[0]
		n.discovers(one, "quic")
	}
	var echoing sync.WaitGroup
	errs := make([]error, len(many))
	for i, n := range many {
		echoing.Go(func() { _, errs[i] = netlab.Call[echoed](n.Process, "echo", echoArgs{one.id, "hello"}) })
	}
	echoing.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	connected := map[string]bool{}
	for _, p := range ask[[]peerInfo](one, "peers") {
		connected[p.Identity] = p.Connected
	}
	for _, n := range many {
		require.True(t, connected[n.id])
		n.Quit() // all at once
	}
}
