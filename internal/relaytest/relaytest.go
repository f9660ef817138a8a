// Package relaytest has go-libp2p's own relay for tests, without limits and without
// anybody being asked for anything.
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

// A Relay is one that runs.
type Relay struct {
	Identity identity.RemoteIdentity
	Port     uint16 // UDP, on all addresses of IPv4
	Close    func()

	host *blankhost.BlankHost
}

// Answer has a relay answer on the stream on which tokens are shown, to all alike:
// how it sees them, and that it is still there.
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

// Pretend has a relay connect nobody any more: what callers say in a circuit is
// given to f, which plays the peer that they have called. Everybody gets a
// reservation.
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

// Addr returns the relay's address on the loopback interface as a multiaddr, with its
// identity.
func (r *Relay) Addr() ma.Multiaddr {
	return ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/udp/%d/quic-v1/p2p/%s", r.Port, r.host.ID()))
}

// Start starts a relay on a free port, until the test ends.
func Start(t testing.TB, options ...relay.Option) *Relay {
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
	h := blankhost.NewBlankHost(s, blankhost.WithEventBus(bus))
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
