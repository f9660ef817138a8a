package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	blankhost "github.com/libp2p/go-libp2p/p2p/host/blank"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/identity"
)

const (
	firstWindow   = 768 << 10  // quic-go's, of a connection
	largestWindow = 1536 << 10 // its maximum: more would pile up before a slow callee
	spareConns    = 64
)

var errFull = errors.New("relay: too many connections")

// room is a resource manager for go-libp2p that bounds only the connections and
// their windows.
type room struct {
	network.NullResourceManager
	most int64
	open atomic.Int64
}

// A seat is one connection.
type seat struct {
	network.NullScope
	room   *room
	window atomic.Int64
	left   atomic.Bool
}

// OpenConnection gives a connection its seat.
func (r *room) OpenConnection(network.Direction, bool, ma.Multiaddr) (network.ConnManagementScope, error) {
	if r.open.Add(1) > r.most {
		r.open.Add(-1)
		return nil, errFull
	}
	s := &seat{room: r}
	s.window.Store(firstWindow)
	return s, nil
}

// ReserveMemory is called before a window grows.
func (s *seat) ReserveMemory(more int, _ uint8) error {
	if s.window.Add(int64(more)) > largestWindow {
		s.window.Add(int64(-more))
		return errFull
	}
	return nil
}

// Done gives the seat back.
func (s *seat) Done() {
	if s.left.CompareAndSwap(false, true) {
		s.room.open.Add(-1)
	}
}

// newHost returns a host that speaks only QUIC, and a function that closes
// everything.
func newHost(id identity.Identity, listen listening, room *room, verify func(net.Addr) bool) (h host.Host, closeAll func() error, err error) {
	private, err := crypto.UnmarshalEd25519PrivateKey(id.PrivateKey())
	if err != nil {
		return nil, nil, err
	}
	self, err := peer.IDFromPrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	store, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, nil, err
	}
	var reset quicgo.StatelessResetKey
	var tokens quicgo.TokenGeneratorKey
	rand.Read(reset[:])
	rand.Read(tokens[:])
	reuse, err := quicreuse.NewConnManager(reset, tokens, quicreuse.VerifySourceAddress(verify))
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	closeStore := func() error { return errors.Join(reuse.Close(), store.Close()) }
	bus := eventbus.NewBus()
	s, err := newSwarm(self, private, store, reuse, bus, room, listen)
	if err != nil {
		return nil, nil, errors.Join(err, closeStore())
	}
	h = blankhost.NewBlankHost(s, blankhost.WithEventBus(bus))
	return h, func() error { return errors.Join(h.Close(), closeStore()) }, nil
}

func newSwarm(self peer.ID, private crypto.PrivKey, store peerstore.Peerstore, reuse *quicreuse.ConnManager, bus event.Bus, room *room, listen listening) (*swarm.Swarm, error) {
	if err := errors.Join(store.AddPrivKey(self, private), store.AddPubKey(self, private.GetPublic())); err != nil {
		return nil, err
	}
	s, err := swarm.NewSwarm(self, store, bus, swarm.WithResourceManager(room),
		swarm.WithUDPBlackHoleSuccessCounter(nil), swarm.WithIPv6BlackHoleSuccessCounter(nil))
	if err != nil {
		return nil, err
	}
	transport, err := libp2pquic.NewTransport(private, reuse, nil, nil, room)
	if err == nil {
		err = s.AddTransport(transport)
	}
	if err == nil {
		err = listen.start(s)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// listening says where to listen.
type listening struct {
	at  []netip.AddrPort
	any bool // one address is enough
}

func (l listening) start(s *swarm.Swarm) (err error) {
	for _, a := range l.at {
		m, failed := manet.FromNetAddr(net.UDPAddrFromAddrPort(a))
		if failed == nil {
			failed = s.Listen(m.Encapsulate(quicV1))
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("relay: listening at %v: %w", a, failed))
		}
	}
	if l.any && len(s.ListenAddresses()) > 0 {
		return nil
	}
	return err
}

var quicV1 = ma.StringCast("/quic-v1")
