package ancestor

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/relaytest"
)

// nearby is a relay client's interface on a host without a network: loopback
// addresses count.
type nearby struct {
	junction.Lines
	addrs func() []netip.AddrPort
}

func (n nearby) Addrs() []netip.AddrPort      { return n.addrs() }
func (n nearby) Believes(netip.AddrPort) bool { return true }

// startNearby starts one of our nodes, which looks for direct paths on the
// loopback interface.
func startNearby(t testing.TB, r *relaytest.Relay) *node {
	var n *node
	own := func() []netip.AddrPort {
		port, _ := n.listener.Port()
		return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}
	}
	n = start(t, r, New(Config{lines: func(l junction.Lines) junction.Lines { return nearby{l, own} }}))
	return n
}

// at returns the address at which a peer made of go-libp2p's parts listens.
func (n *stock) at(t testing.TB) netip.AddrPort {
	for _, a := range n.Network().ListenAddresses() {
		if inner, last := ma.SplitLast(a); last.Protocol().Code == ma.P_QUIC_V1 {
			addr, err := manet.ToNetAddr(inner)
			require.NoError(t, err)
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.(*net.UDPAddr).AddrPort().Port())
		}
	}
	require.FailNow(t, "listens nowhere")
	return netip.AddrPort{}
}

// wantDirect waits until a peer is also connected directly, and requires that a
// new stream takes the direct path while an open one goes on.
func wantDirect(t testing.TB, n *node, peer *p2p.Peer, open *p2p.Stream) {
	t.Helper()
	eventually(t, func() bool { return n.old.running().direct(peer.Identity()) }, "direct")
	require.Len(t, peer.Info().Connections, 2)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	require.Equal(t, p2p.Direct, s.Path().Kind)
	require.Equal(t, 1, s.Version())
	echo(t, s, 1<<20)
	require.Equal(t, p2p.Relay, open.Path().Kind)
	echo(t, open, 1<<20)
	require.NoError(t, s.Close())
	require.NoError(t, open.Close())
}

// As the callee, this node asks a tracked peer for an upgrade, and opens its
// NAT for the peer, which dials.
func TestPunchAsCallee(t *testing.T) {
	r := relaytest.Start(t)
	n, old := startNearby(t, r), startStock(t, r, true)
	hole, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer hole.Close()
	type heard struct {
		m   circuit.Punch
		err error
	}
	connect, sync := make(chan heard, 1), make(chan heard, 1)
	dial := make(chan struct{})
	old.SetStreamHandler(junction.Upgrade, func(s network.Stream) {
		defer s.Close()
		m, err := circuit.ReadPunch(s)
		connect <- heard{m, err}
		s.Write(circuit.Punch{Type: circuit.PunchConnect, Addrs: []netip.AddrPort{hole.LocalAddr().(*net.UDPAddr).AddrPort()}}.Append(nil))
		m, err = circuit.ReadPunch(s)
		sync <- heard{m, err}
		<-dial
		id, _ := peerID(n.Identity())
		at, _ := manet.FromNetAddr(n.addr())
		old.Peerstore().AddAddr(id, at.Encapsulate(ma.StringCast("/quic-v1")), peerstore.PermanentAddrTTL)
		old.Network().DialPeer(network.WithForceDirectDial(t.Context(), "test"), id)
	})
	peer := n.track(t, old.id)
	n.ready(t)
	_, err = old.call(t, n.Identity())
	require.NoError(t, err)
	eventually(t, func() bool { return len(peer.Info().Connections) == 1 }, "connected")
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	c := <-connect
	require.NoError(t, c.err)
	require.Equal(t, []netip.AddrPort{n.addr().AddrPort()}, c.m.Addrs)
	c = <-sync
	require.NoError(t, c.err)
	require.Equal(t, circuit.PunchSync, c.m.Type)
	hole.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 2000)
	size, from, err := hole.ReadFromUDPAddrPort(b)
	require.NoError(t, err)
	require.Equal(t, punchSize, size)
	require.Equal(t, n.addr().Port, int(from.Port()), "the packet must come from the socket that the peer will dial")
	require.Zero(t, b[0]>>6, "the packet must not look like QUIC")
	close(dial)
	wantDirect(t, n, peer, s)
}

func (n *node) addr() *net.UDPAddr {
	port, _ := n.listener.Port()
	return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1).To4(), Port: int(port)}
}

// As the caller, this node dials when the peer says so.
func TestPunchAsCaller(t *testing.T) {
	r := relaytest.Start(t)
	n, old := startNearby(t, r), startStock(t, r, false)
	old.reserve(t)
	peer := n.track(t, old.id)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	id, err := peerID(n.Identity())
	require.NoError(t, err)
	up, err := old.NewStream(within(t), id, junction.Upgrade)
	require.NoError(t, err)
	up.SetDeadline(time.Now().Add(patience))
	_, err = up.Write(circuit.Punch{Type: circuit.PunchConnect, Addrs: []netip.AddrPort{old.at(t)}}.Append(nil))
	require.NoError(t, err)
	m, err := circuit.ReadPunch(up)
	require.NoError(t, err)
	require.Equal(t, []netip.AddrPort{n.addr().AddrPort()}, m.Addrs)
	require.False(t, n.old.running().direct(old.id), "it must not dial before it is told to")
	_, err = up.Write(circuit.Punch{Type: circuit.PunchSync}.Append(nil))
	require.NoError(t, err)
	wantDirect(t, n, peer, s)
}

// If a peer is discovered at an address while it is connected through a relay,
// the next stream leads to a direct connection after a while.
func TestDiscovered(t *testing.T) {
	r := relaytest.Start(t)
	n, old := startNearby(t, r), startStock(t, r, false)
	old.reserve(t)
	peer := n.track(t, old.id)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	require.NoError(t, n.scope.Discovered(old.id, nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: old.at(t)}}))
	next, err := peer.NewStream(within(t))
	require.NoError(t, err)
	require.NoError(t, next.Close())
	wantDirect(t, n, peer, s)
}

// A stranger that calls learns no address, and may not ask for one.
func TestStrangerGetsNoAddress(t *testing.T) {
	r := relaytest.Start(t)
	n, old := startNearby(t, r), startStock(t, r, true)
	asked := make(chan struct{}, 1)
	old.SetStreamHandler(junction.Upgrade, func(s network.Stream) {
		asked <- struct{}{}
		s.Reset()
	})
	n.ready(t)
	_, err := old.call(t, n.Identity())
	require.NoError(t, err)
	s, _ := old.open(t, n.Identity())
	echo(t, s, 1000)
	id, err := peerID(n.Identity())
	require.NoError(t, err)
	_, err = old.NewStream(within(t), id, junction.Upgrade)
	require.Error(t, err)
	require.Empty(t, asked)
	s.Reset()
}
