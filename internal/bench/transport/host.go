package transport

import (
	"context"
	"crypto/rand"
	"net"
	"slices"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/autonat"
	basichost "github.com/libp2p/go-libp2p/p2p/host/basic"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/observedaddrs"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/prometheus/client_golang/prometheus"
	quicgo "github.com/quic-go/quic-go"
)

// newHost composes by hand what libp2p.New makes with QUIC and no other
// transport, without a relay, and with its default resource manager or none.
// The package of libp2p.New links all of its transports, and its WebTransport
// does not compile with the quic-go that the SDK has.
//
// All that libp2p.New starts is there, with the options that it gives:
// identify, which Connect waits for, ping, AutoNAT's client, the addresses that
// peers observe, the connection manager, the detection of black holes, and the
// metrics of each. What differs:
//
//   - go.uber.org/fx, of which libp2p.New makes an app for each host, is not
//     there. A host starts sooner, and keeps less heap while it is idle.
//     Connections and streams do not pass through fx.
//   - The resource manager has its default limits, scaled to the machine,
//     without those that libp2p.New adds for protocols of go-libp2p itself, as
//     identify. Nothing that is measured comes near them.
//   - The keys of stateless resets and of tokens are random, and not derived
//     from the host's key.
func newHost(limits bool) (h host.Host, err error) {
	return hostAt("/ip4/127.0.0.1/udp/0/quic-v1", limits)
}

// Host returns such a host with the default limits, that listens at an address.
func Host(at string) (host.Host, error) { return hostAt(at, true) }

func hostAt(at string, limits bool) (h host.Host, err error) {
	var undo []func() error
	defer func() {
		if err != nil {
			for _, f := range slices.Backward(undo) {
				f()
			}
		}
	}()
	registerer := prometheus.DefaultRegisterer
	rcmgr.MustRegisterWith(registerer)
	resources := network.ResourceManager(&network.NullResourceManager{})
	if limits {
		defaults := rcmgr.DefaultLimits
		if resources, err = rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(defaults.AutoScale())); err != nil {
			return nil, err
		}
		undo = append(undo, resources.Close)
	}

	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, err
	}
	peers, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, err
	}
	undo = append(undo, peers.Close)
	if err := peers.AddPrivKey(id, key); err != nil {
		return nil, err
	}
	if err := peers.AddPubKey(id, key.GetPublic()); err != nil {
		return nil, err
	}

	reuse, err := newReuse(resources, registerer)
	if err != nil {
		return nil, err
	}
	undo = append(undo, reuse.Close)
	bus := eventbus.NewBus(eventbus.WithMetricsTracer(eventbus.NewMetricsTracer(eventbus.WithRegisterer(registerer))))
	s, err := swarm.NewSwarm(id, peers, bus,
		swarm.WithUDPBlackHoleSuccessCounter(&swarm.BlackHoleSuccessCounter{N: 100, MinSuccesses: 5, Name: "UDP"}),
		swarm.WithIPv6BlackHoleSuccessCounter(&swarm.BlackHoleSuccessCounter{N: 100, MinSuccesses: 5, Name: "IPv6"}),
		swarm.WithResourceManager(resources),
		swarm.WithMetricsTracer(swarm.NewMetricsTracer(swarm.WithRegisterer(registerer))))
	if err != nil {
		return nil, err
	}
	undo = append(undo, s.Close)
	t, err := libp2pquic.NewTransport(key, reuse, nil, nil, resources)
	if err != nil {
		return nil, err
	}
	if err := s.AddTransport(t); err != nil {
		return nil, err
	}

	connections, err := connmgr.NewConnManager(160, 192)
	if err != nil {
		return nil, err
	}
	undo = append(undo, connections.Close)
	observed, err := observedaddrs.NewManager(bus, s)
	if err != nil {
		return nil, err
	}
	undo = append(undo, observed.Close)
	basic, err := basichost.NewHost(s, &basichost.HostOpts{
		EventBus: bus, ConnManager: connections, EnablePing: true, EnableMetrics: true, PrometheusRegisterer: registerer,
		ObservedAddrsManager: observed,
	})
	if err != nil {
		return nil, err
	}
	composed := &composedHost{basic, s, reuse, observed}
	undo = []func() error{composed.Close}
	where, err := ma.NewMultiaddr(at)
	if err != nil {
		return nil, err
	}
	if err := s.Listen(where); err != nil {
		return nil, err
	}
	observed.Start(s)
	basic.Start()
	nat, err := autonat.New(basic,
		autonat.UsingAddresses(func() []ma.Multiaddr {
			return slices.DeleteFunc(basic.AllAddrs(), func(a ma.Multiaddr) bool { return !manet.IsPublicAddr(a) })
		}),
		autonat.WithMetricsTracer(autonat.NewMetricsTracer(autonat.WithRegisterer(registerer))))
	if err != nil {
		return nil, err
	}
	basic.SetAutoNat(nat)
	return composed, nil
}

// newReuse makes what owns the sockets, and asks the resource manager about
// each connection before its handshake.
func newReuse(resources network.ResourceManager, registerer prometheus.Registerer) (*quicreuse.ConnManager, error) {
	var reset quicgo.StatelessResetKey
	var token quicgo.TokenGeneratorKey
	rand.Read(reset[:])
	rand.Read(token[:])
	return quicreuse.NewConnManager(reset, token,
		quicreuse.ConnContext(func(ctx context.Context, client *quicgo.ClientInfo) (context.Context, error) {
			addr, err := quicreuse.ToQuicMultiaddr(client.RemoteAddr, quicgo.Version1)
			if err != nil {
				addr = nil // the resource manager decides
			}
			scope, err := resources.OpenConnection(network.DirInbound, false, addr)
			if err != nil {
				return ctx, err
			}
			ctx = network.WithConnManagementScope(ctx, scope)
			context.AfterFunc(ctx, scope.Done)
			return ctx, nil
		}),
		quicreuse.VerifySourceAddress(func(addr net.Addr) bool { return resources.VerifySourceAddress(addr) }),
		quicreuse.EnableMetrics(registerer))
}

// A composedHost closes, before the host, what libp2p.New's would.
type composedHost struct {
	*basichost.BasicHost
	swarm    *swarm.Swarm
	reuse    *quicreuse.ConnManager
	observed *observedaddrs.Manager
}

func (h *composedHost) Close() error {
	h.observed.Close()
	h.swarm.Close()
	h.reuse.Close()
	return h.BasicHost.Close()
}
