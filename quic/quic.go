package quic

import (
	"net/netip"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/netmon"
	"github.com/sdp2p/p2p/internal/qlogged"
)

// DefaultPort is the UDP port of a manual peer whose entry names none.
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

	// IdleTimeout is the time after which a connection without an application
	// stream is closed, unless the peer speaks version 1, which could not
	// reconnect. If zero, 60 s is used. If negative, connections stay open
	// until a peer goes.
	IdleTimeout time.Duration

	// Frugal closes such a connection after only 10 s, if a discovery knows the
	// peer, so that either side can dial again. It is for devices on battery,
	// where each keep-alive costs energy.
	Frugal bool

	// DialTimeout is the most that a dial of one candidate may take. If zero, 5
	// s is used.
	DialTimeout time.Duration

	// TellStrangers says what unknown peers are told about this node: by
	// default, what a discovery currently announces to everybody.
	TellStrangers Telling

	// DisableMigration disables moving connections to other addresses: this
	// node moves none, and does not tell peers its new addresses.
	DisableMigration bool

	// Limits bounds what peers can take.
	Limits Limits

	// QLog has what happens on connections written down, for developers: see
	// package [github.com/sdp2p/p2p/quic/qlog]. If nil, nothing is.
	QLog qlogged.Log

	monitor *netmon.Monitor // of a test; nil: the process's
	slack   time.Duration   // of a test: how much longer answers are waited for
	faith   time.Duration   // of a test: how much longer a peer may send nothing
}

const (
	defaultIdleTimeout = 60 * time.Second
	frugalIdleTimeout  = 10 * time.Second
	defaultDialTimeout = 5 * time.Second

	handshakeTime = 3 * time.Second // of a connection that a peer dials

	idleGrace  = 10 * time.Second // additional time of the accepting side, so that both sides do not close at once
	firstFrame = 5 * time.Second  // for a protocol selection, and for each preamble after it
	// A peer that sends nothing for this long is considered gone (RFC 9000
	// §10.1). The accepting side sends something after half of that time, and
	// waits for all of it again: 19.5 s in all.
	vanishTimeout = 13 * time.Second
	keepAlive     = 5 * time.Second       // all connections together; quic-go's own comes after half of vanishTimeout
	linger        = 50 * time.Millisecond // a connection stays open for this long after its last stream ended, so that the stream's last bytes arrive
)

// A Listener is a [p2p.Listener] over QUIC. All methods may be called
// concurrently, whether it runs or not.
type Listener struct {
	cfg Config
	err error // about cfg; Run fails with it

	mu         sync.Mutex
	disabled   families
	endpoint   *endpoint     // nil while it does not run
	veil       junction.Veil // nil if the node shows its identity
	hiding     *hiding       // nil if it always does
	run        *run          // nil while it does not run
	router     *away         // nil while there is no relay client
	manual     *manualPeers
	remembered map[identity.RemoteIdentity]int // protocol versions of peers that were connected
}

// families is a pair of booleans for IPv4 and IPv6.
type families struct{ ipv4, ipv6 bool }

func (f families) of(addr netip.Addr) bool {
	if carrier.IsVirtual(addr) { // of neither family: a circuit through a relay
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

// New returns a listener, to be registered with one node.
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

// heed acts on an event of the node.
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

// Reconfirm checks whether a peer at a manual address is still there. The node
// calls it when a connection to the peer failed.
func (l *Listener) Reconfirm(id identity.RemoteIdentity) { l.manual.reconfirm(id) }

// NetworkChanged makes the listener check its connections, as when the system
// reports a change of the network.
func (l *Listener) NetworkChanged() { l.cfg.monitor.Poke() }

// running returns the endpoint while the listener runs, and nil otherwise.
func (l *Listener) running() *endpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.endpoint
}

// Port returns the UDP port that the listener uses. It returns false while the
// listener does not run.
func (l *Listener) Port() (uint16, bool) {
	if e := l.running(); e != nil {
		return e.port, true
	}
	return 0, false
}

// SetIPv4 enables or disables IPv4. While a family is disabled, it is not
// announced, and connections over it are neither accepted nor made; existing
// ones are closed. It keeps its port, so that it is available at once when
// enabled again.
func (l *Listener) SetIPv4(enabled bool) { l.set(&l.disabled.ipv4, !enabled) }

// SetIPv6 is [Listener.SetIPv4] for IPv6.
func (l *Listener) SetIPv6(enabled bool) { l.set(&l.disabled.ipv6, !enabled) }

func (l *Listener) set(disabled *bool, to bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*disabled = to
	if e := l.endpoint; e != nil {
		e.announce(l.disabled)
		if e.veil != nil {
			l.hiding.listens(e)
		}
	}
}

// remember records the protocol version of a peer for later connections.
func (l *Listener) remember(id identity.RemoteIdentity, version int) {
	const enough = 1024
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.remembered[id]; !known && len(l.remembered) >= enough {
		for other := range l.remembered { // forgets any: it only costs a round trip
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
