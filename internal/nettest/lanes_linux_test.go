package nettest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

const lanesPort = 7460

// blockPort makes a host drop all packets to and from the port of a node over a
// protocol, until the returned function is called.
func blockPort(h *netlab.Host, protocol string) (unblock func()) {
	h.Run("nft", "add table inet blocked")
	h.Run("nft", "add chain inet blocked in { type filter hook input priority 0 ; }")
	h.Run("nft", fmt.Sprintf("add rule inet blocked in %s dport %d drop", protocol, lanesPort))
	h.Run("nft", fmt.Sprintf("add rule inet blocked in %s sport %d drop", protocol, lanesPort))
	return func() { h.Run("nft", "delete table inet blocked") }
}

// knowsLane waits until a node knows the address of its only peer's lanes.
func (n *node) knowsLane() {
	n.t.Helper()
	until(n.t, func() bool {
		for _, p := range ask[[]peerInfo](n, "peers") {
			if p.Metadata["tcp"] == fmt.Sprint(lanesPort) {
				return true
			}
		}
		return false
	})
}

// If UDP is blocked, streams open over TCP, about a second after the dial; when
// it is no longer blocked, they use UDP again after a minute.
func TestUDPBlocked(t *testing.T) {
	opened := takes(t, "UDP blocked, first stream")
	back := takes(t, "UDP blocked for 10 s, back on QUIC")
	lab := netlab.New(t, 2)
	a, b := withLanes(t, lab)
	unblock := blockPort(lab.Hosts[1], "udp")
	began := time.Now()
	over := a.echoesOver(b)
	took := time.Since(began)
	require.Equal(t, "tcp", over)
	opened(took)
	a.Await(began, "connected", b.id, "tcp")
	began2 := time.Now()
	require.Equal(t, "tcp", a.echoesOver(b))
	t.Logf("the first stream after %v, the next one after %v", took, time.Since(began2))
	require.Equal(t, "tcp", b.echoesOver(a))

	time.Sleep(time.Until(began.Add(10 * time.Second)))
	unblock()
	unblocked := time.Now()
	for a.echoesOver(b) != "udp" { // UDP is tried again every minute
		if time.Since(unblocked) > 4*time.Minute {
			t.Fatal("streams do not go over UDP again")
		}
		time.Sleep(100 * time.Millisecond)
	}
	back(time.Since(unblocked))
	require.Equal(t, "udp", b.echoesOver(a))
	a.Await(unblocked, "disconnected", b.id, "tcp")
}

// echoesOver exchanges a few bytes with another node, and returns the protocol.
func (n *node) echoesOver(other *node) string {
	n.t.Helper()
	return n.over("echo", echoArgs{Peer: other.id, Text: "x"})
}

// over has a node echo, and returns the protocol.
func (n *node) over(call string, a echoArgs) string {
	n.t.Helper()
	r, err := netlab.Call[echoed](n.Process, call, a)
	require.NoError(n.t, err)
	require.Empty(n.t, r.DialError)
	return r.Network
}

// To a distant peer, bulk streams use lanes, unless TCP is blocked; in that
// case they use QUIC for a while, but not if QUIC loses packets there.
func TestFarLanes(t *testing.T) {
	lab := netlab.New(t, 2)
	path := lab.Path(lab.Hosts[0], lab.Hosts[1], netlab.PathConfig{RTT: 20 * time.Millisecond, Seed: 1})
	var nodes [2]*node
	seeds := [2]byte{'f', 'g'}
	for i := range nodes {
		cfg := seeded(nodeConfig{Name: "far", QUIC: true, Lanes: true, Port: lanesPort, Track: []string{idOf(t, seeds[1-i])}}, seeds[i])
		if i == 0 {
			cfg.Manual = []string{fmt.Sprintf("%v:%d", path.Addrs[1], lanesPort)}
		}
		nodes[i] = start(t, lab.Hosts[i], cfg)
	}
	a, b := nodes[0], nodes[1]
	a.Await(time.Time{}, "connected", b.id, "quic")
	a.knowsLane()
	much := echoArgs{Peer: b.id, Text: "x"}
	require.Equal(t, "tcp", a.over("echo in bulk", much))
	require.Equal(t, "udp", a.over("echo", much))

	unblock := blockPort(lab.Hosts[1], "tcp")
	require.Equal(t, "udp", a.over("echo in bulk", much))
	unblock()
	require.Equal(t, "udp", a.over("echo in bulk", much), "a lane is not tried again at once")

	path.SetLoss(0.01)
	until(t, func() bool { // enough packets to judge the loss
		require.Equal(t, "udp", a.over("echo", echoArgs{b.id, strings.Repeat("x", 256<<10)}))
		return path.Stats()[0].Lost > 20
	})
	require.Equal(t, "tcp", a.over("echo in bulk", much))
}

// withLanes starts two nodes that find each other, and know each other's lanes.
func withLanes(t *testing.T, lab *netlab.Lab) (a, b *node) {
	var nodes [2]*node
	seeds := [2]byte{'l', 'm'}
	for i := range nodes {
		nodes[i] = start(t, lab.Hosts[i], seeded(nodeConfig{
			Name: "lanes", MDNS: true, QUIC: true, Lanes: true, Port: lanesPort, Track: []string{idOf(t, seeds[1-i])},
		}, seeds[i]))
	}
	a, b = nodes[0], nodes[1]
	a.discovers(b, "mdns")
	b.discovers(a, "mdns")
	until(t, func() bool {
		for _, p := range ask[[]peerInfo](a, "peers") {
			if p.Metadata["tcp"] == fmt.Sprint(lanesPort) {
				return true
			}
		}
		return false
	})
	return a, b
}

// UDP is blocked while two nodes are connected, and no longer blocked after 10
// s. Both open streams over TCP once they notice the silence, and soon use QUIC
// again, whether or not the connection has survived.
func TestUDPDropped(t *testing.T) {
	over := takes(t, "UDP dropped while connected, first stream over TCP")
	overBack := takes(t, "UDP dropped while connected, first stream over TCP of the side that was dialed")
	back := takes(t, "UDP dropped for 10 s while connected, back on QUIC")
	a, b := withLanes(t, netlab.New(t, 2))
	require.Equal(t, "udp", a.echoesOver(b))
	require.Equal(t, "udp", b.echoesOver(a))
	unblocks := [2]func(){blockPort(a.host, "udp"), blockPort(b.host, "udp")}
	began := time.Now()
	var opening sync.WaitGroup
	there, here := a.echoesOften(b, &opening), b.echoesOften(a, &opening)
	time.Sleep(time.Until(began.Add(10 * time.Second)))
	for _, unblock := range unblocks {
		unblock()
	}
	unblocked := time.Now()
	for first, took := range map[<-chan time.Duration]func(time.Duration){there: over, here: overBack} {
		select {
		case d := <-first:
			took(d)
		default:
			t.Error("no stream was opened over TCP while UDP was dropped")
		}
	}
	for {
		r, err := netlab.Call[echoed](a.Process, "echo", echoArgs{Peer: b.id, Text: "x"})
		if err == nil && r.Network == "udp" {
			break
		}
		if time.Since(unblocked) > 4*time.Minute {
			t.Fatal("streams do not go over UDP again")
		}
		time.Sleep(100 * time.Millisecond)
	}
	back(time.Since(unblocked))
	opening.Wait() // those of before the silence was noticed have waited for the connection
	require.Equal(t, "udp", b.echoesOver(a))
}

// echoesOften opens a stream every 250 ms for 10 s, and returns after how long
// the first one has echoed over TCP. It does not wait.
func (n *node) echoesOften(other *node, opening *sync.WaitGroup) <-chan time.Duration {
	began, first := time.Now(), make(chan time.Duration, 1)
	for i := range 40 {
		opening.Go(func() {
			time.Sleep(time.Until(began.Add(time.Duration(i) * 250 * time.Millisecond)))
			opened := time.Since(began)
			r, err := netlab.Call[echoed](n.Process, "echo", echoArgs{Peer: other.id, Text: "x"})
			n.t.Logf("a stream after %v: %q, %q, %v, after %v", opened, r.Network, r.DialError, err, time.Since(began))
			if err == nil && r.Network == "tcp" {
				select {
				case first <- time.Since(began):
				default:
				}
			}
		})
	}
	return first
}
