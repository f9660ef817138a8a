package p2ptest

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A Config tunes a [Network]. The zero value is ready to use.
type Config struct {
	// Name is the name of the listeners; discoveries are named Name +
	// "-discovery". A node can use several networks if their names differ. If
	// empty, "memory" is used.
	Name string

	// DialTimeout is how long a connection attempt waits for an answer. If
	// zero, 5 s is used.
	DialTimeout time.Duration

	// BufferSize is the most bytes that one direction of a stream holds between
	// Write and Read; a Write blocks while there is no room. If zero, 64 KiB is
	// used.
	BufferSize int

	// Seed determines which attempts fail after [Link.SetLoss].
	Seed uint64
}

// Errors of connection attempts.
var (
	// ErrUnreachable is the error of a connection attempt that nobody answers,
	// because the address is nobody's, the link is cut, or the attempt was
	// lost. Such an attempt takes [Config.DialTimeout].
	ErrUnreachable = errors.New("p2ptest: no answer")

	// ErrOtherNode is the error of a connection attempt that is answered by a
	// node other than the intended one.
	ErrOtherNode = errors.New("p2ptest: another node has this address")
)

// A Network is a network in memory. All methods may be called concurrently.
type Network struct {
	cfg Config

	mu      sync.Mutex // guards all below; taken before any lock of a node, wire or stream; nothing blocks under it
	addrs   uint32     // number of addresses given out
	hosts   map[netip.AddrPort]*host
	members []*member // in the order in which they joined
	links   map[[2]identity.RemoteIdentity]*Link
}

// NewNetwork returns a network without nodes.
func NewNetwork(cfg Config) *Network {
	if cfg.Name == "" {
		cfg.Name = "memory"
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = 5 * time.Second
	}
	if cfg.BufferSize == 0 {
		cfg.BufferSize = 64 << 10
	}
	return &Network{cfg: cfg, hosts: map[netip.AddrPort]*host{}, links: map[[2]identity.RemoteIdentity]*Link{}}
}

// Hooks returns a new listener and a new discovery, for the [p2p.Config.Hooks]
// of one node.
func (n *Network) Hooks() []p2p.Hook {
	return []p2p.Hook{n.Listener(ListenerConfig{}), n.Discovery()}
}

// Start starts a node on the network, with [Network.Hooks] followed by
// cfg.Hooks. If cfg.App is empty, it is "p2ptest"; if cfg.Logger is nil, the
// node logs to the test's log. The test fails if the node does not start.
//
// The node is shut down when the test ends, if it was not before. Streams that
// the test has left open delay that by 5 s (see [p2p.P2P.Shutdown]), which
// costs nothing in a bubble.
func (n *Network) Start(t testing.TB, cfg p2p.Config) *p2p.P2P {
	t.Helper()
	cfg.Hooks = append(n.Hooks(), cfg.Hooks...)
	return start(t, cfg)
}

// start starts a node that is shut down when the test ends.
func start(t testing.TB, cfg p2p.Config) *p2p.P2P {
	t.Helper()
	if cfg.App == "" {
		cfg.App = "p2ptest"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	node, err := p2p.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start a node: %v", err)
	}
	t.Cleanup(func() {
		if err := node.Shutdown(context.Background()); err != nil {
			t.Errorf("shut a node down: %v", err)
		}
	})
	return node
}

// newAddr returns an unused address from the range for documentation (RFC
// 3849).
func (n *Network) newAddr() netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs++
	ip := [16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8,
		12: byte(n.addrs >> 24), 13: byte(n.addrs >> 16), 14: byte(n.addrs >> 8), 15: byte(n.addrs)}
	return netip.AddrPortFrom(netip.AddrFrom16(ip), 7373)
}
