package quic

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/netmon"
)

// DefaultPort is the UDP port that is meant where a manual peer's entry names
// none.
const DefaultPort = 7373

// A Config tunes a [Listener]. The zero value listens on a free UDP port, for
// IPv4 and IPv6.
type Config struct {
	// Port is the UDP port, for IPv4 and IPv6 alike. If zero, a free one is
	// chosen when the listener starts.
	Port uint16

	// DisableIPv4 and DisableIPv6 start the listener with the family
	// disabled; see [Listener.SetIPv4].
	DisableIPv4, DisableIPv6 bool

	// ManualPeers are addresses that the user gave; see
	// [Listener.SetManualPeers]. Start fails if one is not valid.
	ManualPeers []string

	// IdleTimeout closes a connection that no application stream uses,
	// unless the peer speaks version 1, which could not come back. If zero,
	// 60 s is used. If negative, connections stay open until a peer goes.
	IdleTimeout time.Duration

	// DialTimeout limits how long one candidate may take. If zero, 5 s is
	// used.
	DialTimeout time.Duration

	// TellStrangers says what peers are told of this node that it does not
	// know: by default, what a discovery tells everybody at the moment.
	TellStrangers Telling

	// DisableMigration ends connections where they could go on from another
	// address: this node moves none, and tells no peer where it has moved.
	DisableMigration bool

	// Limits bound what peers can take.
	Limits Limits

	monitor *netmon.Monitor // of a test; nil: the process's
	slack   time.Duration   // of a test: how much longer answers are waited for
}

const (
	defaultIdleTimeout = 60 * time.Second
	defaultDialTimeout = 5 * time.Second

	handshakeTime = 3 * time.Second // of a connection that a peer dials

	idleGrace  = 10 * time.Second // how much longer the accepting side waits, so that both do not close at once
	firstFrame = 5 * time.Second  // for a protocol selection, and for each of the preambles behind it
	// Without a packet for that long, the peer is gone (RFC 9000 §10.1).
	// The accepting side sends something after half of it, and waits that
	// long again: 19.5 s in all.
	vanishTimeout = 13 * time.Second
	keepAlive     = 5 * time.Second
	linger        = 50 * time.Millisecond // what a stream said last is not lost with its connection, if that is closed so much later
)

// A Listener is a [p2p.Listener] over QUIC. All methods may be called
// concurrently, whether it runs or not.
type Listener struct {
	cfg Config
	err error // of cfg: Run fails with it

	mu         sync.Mutex
	disabled   families
	endpoint   *endpoint // nil while it does not run
	router     *away     // nil while there is no relay client
	manual     *manualPeers
	remembered map[identity.RemoteIdentity]int // protocol versions of peers that were connected
}

// families says something of IPv4 and IPv6.
type families struct{ ipv4, ipv6 bool }

func (f families) of(addr netip.Addr) bool {
	if carrier.IsVirtual(addr) { // of no family: the circuit comes from a relay
		return false
	}
	if addr.Unmap().Is4() {
		return f.ipv4
	}
	return f.ipv6
}

var (
	_ p2p.Listener    = (*Listener)(nil)
	_ p2p.Reconfirmer = (*Listener)(nil)

	_ p2p.NetworkWatcher = (*Listener)(nil)
)

// New makes a listener to be registered with one node.
func New(cfg Config) *Listener {
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = defaultIdleTimeout
	}
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = defaultDialTimeout
	}
	if cfg.monitor == nil {
		cfg.monitor = netmon.Shared()
	}
	l := &Listener{
		cfg:        cfg,
		disabled:   families{cfg.DisableIPv4, cfg.DisableIPv6},
		manual:     newManualPeers(),
		remembered: map[identity.RemoteIdentity]int{},
	}
	l.err = l.SetManualPeers(cfg.ManualPeers)
	return l
}

// Name returns "quic".
func (l *Listener) Name() string { return "quic" }

// Run listens and serves until ctx is done.
func (l *Listener) Run(ctx context.Context, s *p2p.Scope) error {
	if l.err != nil {
		return l.err
	}
	e, err := newEndpoint(l, s)
	if err != nil {
		return err
	}
	defer e.close()
	l.mu.Lock()
	if l.endpoint != nil {
		l.mu.Unlock()
		return errors.New("quic: a listener serves one node at a time")
	}
	l.endpoint = e
	e.announce(l.disabled)
	if l.router != nil {
		l.router.hear(e)
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.endpoint = nil
		l.mu.Unlock()
	}()

	events := s.Node().Subscribe()
	defer events.Close()
	var manual sync.WaitGroup
	defer manual.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	manual.Go(func() { l.manual.run(ctx, e) })
	network := l.cfg.monitor.Subscribe()
	defer network.Close()
	e.attend(network)
	s.Ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case change := <-network.C:
			e.networkChanged(change)
		case event, ok := <-events.C:
			if !ok {
				return nil
			}
			e.heed(event)
		}
	}
}

// heed acts on what happens to the node.
func (e *endpoint) heed(event p2p.Event) {
	switch event := event.(type) {
	case p2p.MetadataModified:
		e.tellMetadata()
	case p2p.TrackedModified:
		e.reckon()
	case p2p.PeerDiscoveredBy:
		if event.Hook != e.listener.Name() {
			e.announced(event.Peer)
		}
	case p2p.Resync:
		e.tellMetadata()
		e.reckon()
		for _, peer := range e.scope.Node().Peers() {
			e.announced(peer)
		}
	}
}

// Reconfirm looks at once whether a peer at a manual address is still there.
// The node calls it when a connection to the peer failed.
func (l *Listener) Reconfirm(id identity.RemoteIdentity) { l.manual.reconfirm(id) }

// NetworkChanged has the listener look after its connections, as when the system
// tells of another network.
func (l *Listener) NetworkChanged() { l.cfg.monitor.Poke() }

// running returns the endpoint while the listener runs, and else nil.
func (l *Listener) running() *endpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.endpoint
}

// Port returns the UDP port that the listener uses, and false while it does not
// run.
func (l *Listener) Port() (uint16, bool) {
	if e := l.running(); e != nil {
		return e.port, true
	}
	return 0, false
}

// SetIPv4 enables or disables IPv4. A disabled family is not announced, accepts
// and makes no connections, and those that it has are closed. It keeps its
// port, so that it is back at once when it is enabled again.
func (l *Listener) SetIPv4(enabled bool) { l.set(&l.disabled.ipv4, !enabled) }

// SetIPv6 is [Listener.SetIPv4] for IPv6.
func (l *Listener) SetIPv6(enabled bool) { l.set(&l.disabled.ipv6, !enabled) }

func (l *Listener) set(disabled *bool, to bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*disabled = to
	if l.endpoint != nil {
		l.endpoint.announce(l.disabled)
	}
}

// remember keeps the protocol version of a peer for later connections.
func (l *Listener) remember(id identity.RemoteIdentity, version int) {
	const enough = 1024
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.remembered[id]; !known && len(l.remembered) >= enough {
		for other := range l.remembered { // any: it only costs that one a round trip
			delete(l.remembered, other)
			break
		}
	}
	l.remembered[id] = version
}

// recall returns the protocol version that a peer spoke last, or 0.
func (l *Listener) recall(id identity.RemoteIdentity) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remembered[id]
}
