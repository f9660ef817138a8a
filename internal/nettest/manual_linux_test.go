package nettest

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/quic"
)

// vanished bounds how long a connection outlives its peer: the time-out of 15 s
// may begin with the next keep-alive (RFC 9000 §10.1), which is sent 5 s after
// the last packet by the end that dialed, and after 7.5 s by the other end; and
// there is a margin.
const vanished = 25 * time.Second

// ownsText reports whether an address in text form is one of the host's.
func ownsText(h *netlab.Host, text string) bool {
	addr, err := netip.ParseAddr(text)
	return err == nil && h.Owns(addr)
}

// mentions reports whether one of the candidates has the address.
func mentions(candidates []string, addr netip.Addr) bool {
	return slices.ContainsFunc(candidates, func(c string) bool { return strings.Contains(c, addr.String()) })
}

// Without discovery, an address is enough: the node learns which peer is there,
// and the peer learns which node has connected.
func TestManualAddress(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	b := start(t, lab.Hosts[1], nodeConfig{Name: "b", QUIC: true, Port: quic.DefaultPort, Open: true})
	for _, addr := range []netip.Addr{b.host.Addr4(), b.host.Addr6(), b.host.LinkLocal().WithZone(netlab.Interface)} {
		a := start(t, lab.Hosts[0], nodeConfig{Name: "a", QUIC: true})
		require.Empty(t, ask[[]peerInfo](a, "peers"))
		began := time.Now()
		_, err := netlab.Call[none](a.Process, "set manual", []string{addr.String()})
		require.NoError(t, err)
		known := a.discovers(b, "quic")
		t.Logf("%v: known after %v", addr, known.Sub(began))
		m := a.manual()
		require.Equal(t, quic.ManualReached.String(), m.State)
		require.Equal(t, b.id, m.Identity)
		require.Equal(t, netip.AddrPortFrom(addr, quic.DefaultPort).String(), m.Addr)
		b.Await(began, "connected", a.id, "quic")
		a.echoes(b)
		b.echoes(a)
		peers := ask[[]peerInfo](a, "peers")
		require.Len(t, peers, 1)
		require.Equal(t, "b", peers[0].Name)

		a.Stop()
		leaving := a.Await(began, "stopping").At
		t.Logf("%v: gone %v after a clean shutdown", addr, b.Await(leaving, "unavailable", a.id).At.Sub(leaving))
	}
}

// Both a node that has dialed a killed node and a node that the killed one has
// dialed notice its loss. A node with the killed one's address as a manual peer
// tries to reach it once more before the peer becomes unavailable.
func TestKilledAtManualAddress(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	address := func(h *netlab.Host) []string { return []string{h.Addr4().String()} }
	dialed := start(t, lab.Hosts[0], nodeConfig{QUIC: true, Port: quic.DefaultPort})
	killed := start(t, lab.Hosts[1], nodeConfig{QUIC: true, Port: quic.DefaultPort, Manual: address(dialed.host)})
	dialing := start(t, lab.Hosts[2], nodeConfig{QUIC: true, Manual: address(killed.host)})
	for _, n := range []*node{dialed, dialing} {
		n.Await(time.Time{}, "connected", killed.id, "quic")
		n.echoes(killed)
	}

	at := killed.Kill()
	for name, n := range map[string]*node{"dialed": dialed, "dialing": dialing} {
		lost := n.Await(at, "disconnected", killed.id, "quic").At
		require.Less(t, lost.Sub(at), vanished)
		t.Logf("%s: disconnected %v after the kill, gone after %v", name, lost.Sub(at), n.Await(at, "unavailable", killed.id).At.Sub(at))
	}
	require.NotEqual(t, quic.ManualReached.String(), dialing.manual().State)
}

// A manual peer whose host is not up yet is reached soon after it is.
func TestManualPeerComesLater(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	lab.Hosts[1].LinkDown()
	a := start(t, lab.Hosts[0], nodeConfig{QUIC: true, Manual: []string{lab.Hosts[1].Addr4().String()}})
	b := start(t, lab.Hosts[1], nodeConfig{QUIC: true, Port: quic.DefaultPort})
	failures(a, 1)
	t.Log("while its host is down:", a.manual().Err)
	up := time.Now()
	lab.Hosts[1].LinkUp()
	t.Logf("reached %v after its host came up", a.discovers(b, "quic").Sub(up))
	a.echoes(b)
}

// The same holds if the node's own host is not on the network: when its
// addresses change, the node does not wait for the next attempt, which would be
// 8 s later.
func TestManualPeerOwnNetworkComesLater(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	lab.Hosts[0].LinkDown()
	b := start(t, lab.Hosts[1], nodeConfig{QUIC: true, Port: quic.DefaultPort})
	a := start(t, lab.Hosts[0], nodeConfig{QUIC: true, Manual: []string{lab.Hosts[1].Addr4().String()}})
	failures(a, 4)
	t.Log("without a network:", a.manual().Err)
	up := time.Now()
	lab.Hosts[0].LinkUp()
	reached := a.discovers(b, "quic").Sub(up)
	t.Logf("reached %v after the network came up", reached)
	require.Less(t, reached, 7*time.Second)
	a.echoes(b)
}

// failures waits until a number of attempts to reach the manual peer have
// failed.
func failures(n *node, times int) {
	n.t.Helper()
	seen := map[time.Time]bool{}
	until(n.t, func() bool {
		if m := n.manual(); m.State == quic.ManualFailed.String() {
			seen[m.Since] = true
		}
		return len(seen) >= times
	})
}
