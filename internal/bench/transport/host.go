package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"slices"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
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
	return hostAt("/ip4/127.0.0.1/udp/0/quic-v1", limits, nil)
}

// Host returns such a host with the default limits, that listens at an address.
func Host(at string) (host.Host, error) { return hostAt(at, true, nil) }

// Unlimited returns such a host without limits, with other options.
func Unlimited(at string, alter func(*basichost.HostOpts)) (host.Host, error) {
	return hostAt(at, false, alter)
}

func hostAt(at string, limits bool, alter func(*basichost.HostOpts)) (_ host.Host, err error) {
	var c parts
	defer func() {
		if err != nil {
			c.undo()
		}
	}()
	if err := c.swarm(limits); err != nil {
		return nil, err
	}
	composed, err := c.host(alter)
	if err != nil {
		return nil, err
	}
	c.ends = []func() error{composed.Close}
	where, err := ma.NewMultiaddr(at)
	if err != nil {
		return nil, err
	}
	if err := c.net.Listen(where); err != nil {
		return nil, err
	}
	c.observed.Start(c.net)
	composed.BasicHost.Start()
	return composed, c.autonat(composed.BasicHost)
}

// parts are those of a host, as far as they are made.
type parts struct {
	net      *swarm.Swarm
	bus      event.Bus
	reuse    *quicreuse.ConnManager
	observed *observedaddrs.Manager
	ends     []func() error
}

func (c *parts) ending(f func() error) { c.ends = append(c.ends, f) }

func (c *parts) undo() {
	for _, f := range slices.Backward(c.ends) {
		f()
	}
}

// swarm makes the swarm of a new key, with QUIC.
func (c *parts) swarm(limits bool) (err error) {
	registerer := prometheus.DefaultRegisterer
	rcmgr.MustRegisterWith(registerer)
	resources := network.ResourceManager(&network.NullResourceManager{})
	if limits {
		defaults := rcmgr.DefaultLimits
		if resources, err = rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(defaults.AutoScale())); err != nil {
			return err
		}
		c.ending(resources.Close)
	}
	key, id, peers, err := newPeer()
	if err != nil {
		return err
	}
	c.ending(peers.Close)
	if c.reuse, err = newReuse(resources, registerer); err != nil {
		return err
	}
	c.ending(c.reuse.Close)
	c.bus = eventbus.NewBus(eventbus.WithMetricsTracer(eventbus.NewMetricsTracer(eventbus.WithRegisterer(registerer))))
	c.net, err = swarm.NewSwarm(id, peers, c.bus,
		swarm.WithUDPBlackHoleSuccessCounter(&swarm.BlackHoleSuccessCounter{N: 100, MinSuccesses: 5, Name: "UDP"}),
		swarm.WithIPv6BlackHoleSuccessCounter(&swarm.BlackHoleSuccessCounter{N: 100, MinSuccesses: 5, Name: "IPv6"}),
		swarm.WithResourceManager(resources),
		swarm.WithMetricsTracer(swarm.NewMetricsTracer(swarm.WithRegisterer(registerer))))
	if err != nil {
		return err
	}
	c.ending(c.net.Close)
	t, err := libp2pquic.NewTransport(key, c.reuse, nil, nil, resources)
	if err != nil {
		return err
	}
	return c.net.AddTransport(t)
}

// newPeer makes a key, and a peerstore that has it.
func newPeer() (crypto.PrivKey, peer.ID, peerstore.Peerstore, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, "", nil, err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, "", nil, err
	}
	peers, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, "", nil, err
	}
	if err := errors.Join(peers.AddPrivKey(id, key), peers.AddPubKey(id, key.GetPublic())); err != nil {
		peers.Close()
		return nil, "", nil, err
	}
	return key, id, peers, nil
}

// host makes the host of the swarm.
func (c *parts) host(alter func(*basichost.HostOpts)) (*composedHost, error) {
	connections, err := connmgr.NewConnManager(160, 192)
	if err != nil {
		return nil, err
	}
	c.ending(connections.Close)
	if c.observed, err = observedaddrs.NewManager(c.bus, c.net); err != nil {
		return nil, err
	}
	c.ending(c.observed.Close)
	options := &basichost.HostOpts{
		EventBus: c.bus, ConnManager: connections, EnablePing: true, EnableMetrics: true,
		PrometheusRegisterer: prometheus.DefaultRegisterer, ObservedAddrsManager: c.observed,
	}
	if alter != nil {
		alter(options)
	}
	basic, err := basichost.NewHost(c.net, options)
	if err != nil {
		return nil, err
	}
	return &composedHost{basic, c.net, c.reuse, c.observed}, nil
}

func (c *parts) autonat(of *basichost.BasicHost) error {
	nat, err := autonat.New(of,
		autonat.UsingAddresses(func() []ma.Multiaddr {
			return slices.DeleteFunc(of.AllAddrs(), func(a ma.Multiaddr) bool { return !manet.IsPublicAddr(a) })
		}),
		autonat.WithMetricsTracer(autonat.NewMetricsTracer(autonat.WithRegisterer(prometheus.DefaultRegisterer))))
	if err == nil {
		of.SetAutoNat(nat)
	}
	return err
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
