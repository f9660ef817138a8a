package tcp

import (
	"sync"
	"time"

	"github.com/sdp2p/p2p"
)

// A Config tunes a [Listener]. The zero value is ready to use.
type Config struct {
	// Port is the TCP port. If zero, it is the port number of the node's
	// listener over UDP. If the port is not free, the listener uses any other.
	Port uint16

	// Limits bounds what peers can take.
	Limits Limits

	// For tests: replace backTime, userTimeout and tendTime.
	back, patience, tend time.Duration
}

// Limits bounds the resources that peers can take. For each field, zero means
// the default, which the package documentation lists, and a negative value
// means no limit. An address is an IPv4 address or an IPv6 /64, and a network
// is an IPv4 /24 or an IPv6 /48.
type Limits struct {
	// Handshakes in progress: from an address, from a network, and in all.
	// Known is the number of further places for addresses at which tracked
	// peers may be. If all places are taken, the oldest handshake of the
	// fullest network ends.
	HandshakesPerAddr, HandshakesPerNet, Handshakes, Known int

	// Lanes that peers have opened: of one peer, in all, and of unknown peers
	// while the node expects one.
	LanesPerPeer, Lanes, Expected int
}

func (l Limits) withDefaults() Limits {
	for field, value := range map[*int]int{
		&l.HandshakesPerAddr: 8, &l.HandshakesPerNet: 16, &l.Handshakes: 64, &l.Known: 32,
		&l.LanesPerPeer: 256, &l.Lanes: 1024, &l.Expected: 16,
	} {
		if *field == 0 {
			*field = value
		}
	}
	return l
}

// full reports whether n has reached a limit.
func full(n, limit int) bool { return limit >= 0 && n >= limit }

const (
	userTimeout = 13 * time.Second       // without an acknowledgement, until the peer counts as gone
	backTime    = 60 * time.Second       // until the other listeners are tried again
	dialTimeout = 5 * time.Second        // for one address
	stagger     = 250 * time.Millisecond // between the starts of attempts
	firstFrame  = 5 * time.Second        // for the hello of the other side
)

// A Listener is a [p2p.Listener] that carries streams over lanes. All methods
// may be called concurrently, whether it runs or not.
type Listener struct {
	cfg Config

	mu       sync.Mutex
	run      *run // nil while it does not run
	expected int  // calls of Expect that are not over
}

var (
	_ p2p.Listener   = (*Listener)(nil)
	_ p2p.Rendezvous = (*Listener)(nil)
)

// New returns a listener, to be registered with one node, after the listener
// over UDP.
func New(cfg Config) *Listener {
	cfg.Limits = cfg.Limits.withDefaults()
	for d, usual := range map[*time.Duration]time.Duration{&cfg.back: backTime, &cfg.patience: userTimeout, &cfg.tend: tendTime} {
		if *d == 0 {
			*d = usual
		}
	}
	return &Listener{cfg: cfg}
}

// Name returns "tcp".
func (l *Listener) Name() string { return "tcp" }

// running returns the run while the listener runs, and nil otherwise.
func (l *Listener) running() *run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.run
}

// Port returns the TCP port of the lanes. It returns false while the port is
// closed.
func (l *Listener) Port() (uint16, bool) {
	if r := l.running(); r != nil {
		port := r.port()
		return port, port != 0
	}
	return 0, false
}

// Expect lets unknown nodes open lanes until over is called.
func (l *Listener) Expect() (at []p2p.Candidate, over func()) {
	l.mu.Lock()
	l.expected++
	l.mu.Unlock()
	return nil, sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.expected--
	})
}

func (l *Listener) expects() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expected > 0
}
