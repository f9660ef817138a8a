// Package relaytest provides go-libp2p's own relay for tests, without limits or
// access control.
package relaytest

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	blankhost "github.com/libp2p/go-libp2p/p2p/host/blank"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
)

// A Relay is a running relay.
type Relay struct {
	Identity identity.RemoteIdentity
	Port     uint16 // UDP, on all addresses of IPv4
	Close    func()

	host *blankhost.BlankHost
}

// Answer makes a relay accept everybody on the stream on which tokens are
// shown: it answers with the client's address, and answers pings.
func (r *Relay) Answer() {
	r.host.SetStreamHandler(circuit.AuthProtocol, func(s network.Stream) {
		defer s.Reset()
		if _, err := circuit.ReadHello(s); err != nil {
			return
		}
		inner, _ := ma.SplitLast(s.Conn().RemoteMultiaddr())
		at, err := manet.ToNetAddr(inner)
		if err != nil {
			return
		}
		observed := at.(*net.UDPAddr).AddrPort()
		observed = netip.AddrPortFrom(observed.Addr().Unmap(), observed.Port())
		if _, err := s.Write(circuit.Answer{Observed: observed, Left: circuit.Unlimited}.Append(nil)); err != nil {
			return
		}
		for {
			m, err := circuit.ReadClient(s)
			if err != nil {
				return
			}
			if n, ok := m.(circuit.Ping); ok {
				if _, err := s.Write(circuit.Pong(n).Append(nil)); err != nil {
					return
				}
			}
		}
	})
}

// Pretend makes a relay connect nobody any more: it passes callers' circuits to
// f, which plays the callee. Everybody gets a reservation.
func (r *Relay) Pretend(f func(callee identity.RemoteIdentity, s network.Stream)) {
	r.host.SetStreamHandler(circuit.HopProtocol, func(s network.Stream) {
		defer s.Reset()
		m, err := circuit.ReadHop(s)
		if err != nil {
			return
		}
		answer := circuit.Hop{Type: circuit.HopStatus, Status: circuit.OK}
		if m.Type == circuit.HopReserve {
			answer.Expire = time.Now().Add(time.Hour)
		}
		if _, err := s.Write(answer.Append(nil)); err != nil || m.Type != circuit.HopConnect {
			s.CloseWrite()
			return
		}
		f(m.Peer, s)
	})
}

// A tapped is a network on which everything that peers send is intercepted.
type tapped struct {
	network.Network
	tap func(b []byte)
}

func (n tapped) SetStreamHandler(f network.StreamHandler) {
	n.Network.SetStreamHandler(func(s network.Stream) {
		if n.tap != nil {
			s = heard{s, n.tap}
		}
		f(s)
	})
}

// A heard is a stream on a tapped network.
type heard struct {
	network.Stream
	tap func(b []byte)
}

func (s heard) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.tap(b[:n])
	return n, err
}

// Addr returns the relay's address on the loopback interface as a multiaddr,
// with its identity.
func (r *Relay) Addr() ma.Multiaddr {
	return Addr(r.Identity, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), r.Port))
}

// Addr returns the multiaddr of a relay at an address of IPv4.
func Addr(relay identity.RemoteIdentity, at netip.AddrPort) ma.Multiaddr {
	return ma.StringCast(fmt.Sprintf("/ip4/%v/udp/%d/quic-v1/p2p/%s", at.Addr(), at.Port(), peerID(relay)))
}

// Start starts a relay on a free port, which runs until the test ends.
func Start(t testing.TB, options ...relay.Option) *Relay {
	t.Helper()
	return Tapped(t, nil, options...)
}

// Tapped starts a relay that passes everything that clients send on streams to
// tap, if not nil, piece by piece and possibly concurrently.
func Tapped(t testing.TB, tap func(b []byte), options ...relay.Option) *Relay {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	key, err := crypto.UnmarshalEd25519PrivateKey(private)
	require.NoError(t, err)
	self, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	store, err := pstoremem.NewPeerstore()
	require.NoError(t, err)
	require.NoError(t, store.AddPrivKey(self, key))
	require.NoError(t, store.AddPubKey(self, key.GetPublic()))
	reuse, err := quicreuse.NewConnManager(quicgo.StatelessResetKey{1}, quicgo.TokenGeneratorKey{2})
	require.NoError(t, err)
	bus := eventbus.NewBus()
	s, err := swarm.NewSwarm(self, store, bus)
	require.NoError(t, err)
	transport, err := libp2pquic.NewTransport(key, reuse, nil, nil, nil)
	require.NoError(t, err)
	require.NoError(t, s.AddTransport(transport))
	require.NoError(t, s.Listen(ma.StringCast("/ip4/0.0.0.0/udp/0/quic-v1")))
	h := blankhost.NewBlankHost(tapped{s, tap}, blankhost.WithEventBus(bus))
	r, err := relay.New(h, append([]relay.Option{relay.WithInfiniteLimits()}, options...)...)
	require.NoError(t, err)
	udp, err := s.ListenAddresses()[0].ValueForProtocol(ma.P_UDP)
	require.NoError(t, err)
	port, err := strconv.ParseUint(udp, 10, 16)
	require.NoError(t, err)
	id, err := identity.FromBytes(public)
	require.NoError(t, err)
	started := &Relay{Identity: id, Port: uint16(port), host: h, Close: sync.OnceFunc(func() {
		r.Close()
		h.Close()
		reuse.Close()
		store.Close()
	})}
	t.Cleanup(started.Close)
	return started
}
