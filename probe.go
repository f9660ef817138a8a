package p2p

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A Prober is a listener that can check whether the holder of a key answers.
type Prober interface {
	Listener

	// Probe returns the address at which the holder of id's private key has
	// answered. That is the address of a connection with the peer, if the peer
	// answers there, or else one of at, if a handshake there proves the key.
	// The connection of that handshake is closed at once and not reported.
	// Addresses that [Listener.Dial] would not try are skipped.
	//
	// If id is the node's own identity, Probe looks for another node with the
	// same key: an answer from this node itself does not count, whatever way it
	// takes.
	//
	// If nobody answers, it fails when ctx ends or nothing is left to try. It
	// is called concurrently, but not for the same identity, and also just
	// before and after Run.
	Probe(ctx context.Context, id identity.RemoteIdentity, at []netip.AddrPort) (netip.AddrPort, error)
}

// ErrNoProber is returned by [Scope.Probe] if no listener of the node is a
// [Prober].
var ErrNoProber = errors.New("p2p: no listener is registered that could ask for a peer")

const (
	probeTime    = 3 * time.Second // the most that a probe takes
	probeAgain   = 3 * time.Second // until an address that has not answered is asked again
	probeSame    = time.Second     // until the same identity is asked for again
	probeRate    = 20              // unanswering addresses per second
	probeAtOnce  = 8               // addresses of one probe
	maxProbeKeys = 1024            // addresses, and identities, that are remembered
)

// Probe checks whether the holder of an identity's key answers, over a
// connection or at one of the addresses, and returns the address that did; see
// [Prober]. It blocks for up to 3 s.
//
// Since the reason to probe may be an announcement, which anybody can forge,
// probes are limited: to 8 addresses each; to one probe a second for each
// identity; and, for addresses that do not answer, to 20 a second for the whole
// node, and to one in 3 s for each. A probe beyond these limits fails with
// [ErrBusy]. Other errors are [ErrNoProber], [ErrRevoked], and those of the
// listener.
func (s *Scope) Probe(ctx context.Context, id identity.RemoteIdentity, at ...netip.AddrPort) (netip.AddrPort, error) {
	n := s.node
	n.mu.Lock()
	probers, connected, err := n.state.probers(id)
	if !s.reg.live {
		err = ErrStopped
	}
	n.mu.Unlock()
	if err != nil {
		return netip.AddrPort{}, err
	}
	at = slices.DeleteFunc(slices.Clone(at), func(a netip.AddrPort) bool { return !somebodys(a.Addr()) || a.Port() == 0 })
	at, err = n.probes.begin(id, at, connected)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("p2p: probe of %v: %w", id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	answered := netip.AddrPort{}
	defer func() { n.probes.end(id, answered) }()
	var failed error
	for _, p := range probers {
		addr, err := p.Probe(ctx, id, at)
		if err == nil {
			answered = addr
			return addr, nil
		}
		failed = errors.Join(failed, err)
	}
	return netip.AddrPort{}, failed
}

// probers returns the listeners to ask for a peer, those connected with it
// first, and reports whether any is connected.
func (s *state) probers(id identity.RemoteIdentity) (all []Prober, connected bool, err error) {
	if _, revoked := s.peers.revoked[id]; revoked {
		return nil, false, ErrRevoked
	}
	st := s.peers.known[id]
	for _, r := range s.hooks.running {
		p, ok := r.hook.(Prober)
		switch {
		case !ok:
		case st != nil && st.connectedBy(r):
			all, connected = append([]Prober{p}, all...), true
		default:
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil, false, ErrNoProber
	}
	return all, connected, nil
}

// probes limits the probes that announcements of others can cause. The zero
// value is ready to use.
type probes struct {
	mu      sync.Mutex
	level   float64   // addresses that were asked recently and have not answered: a leaky bucket
	at      time.Time // when it had that level
	asked   map[netip.AddrPort]time.Time
	asking  map[identity.RemoteIdentity]bool
	askedOf map[identity.RemoteIdentity]time.Time
}

// begin returns the addresses that may be asked now.
func (p *probes) begin(id identity.RemoteIdentity, at []netip.AddrPort, connected bool) (some []netip.AddrPort, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked == nil {
		p.asked, p.askedOf = map[netip.AddrPort]time.Time{}, map[identity.RemoteIdentity]time.Time{}
		p.asking = map[identity.RemoteIdentity]bool{}
	}
	now := time.Now()
	if last, ok := p.askedOf[id]; p.asking[id] || ok && now.Sub(last) < probeSame || !roomFor(p.askedOf, now, probeSame) {
		return nil, ErrBusy
	}
	p.level = max(0, p.level-now.Sub(p.at).Seconds()*probeRate)
	p.at = now
	for _, a := range at {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		last, ok := p.asked[a]
		switch {
		case ok && now.Sub(last) < probeAgain || slices.Contains(some, a):
		case len(some) == probeAtOnce || p.level+1 > probeRate || !roomFor(p.asked, now, probeAgain):
		default:
			p.level++
			p.asked[a] = now
			some = append(some, a)
		}
	}
	if len(some) == 0 && !connected {
		return nil, ErrBusy
	}
	p.asking[id], p.askedOf[id] = true, now
	return some, nil
}

// roomFor reports whether one more entry may be remembered, after dropping
// those that have expired.
func roomFor[K comparable](asked map[K]time.Time, now time.Time, after time.Duration) bool {
	if len(asked) < maxProbeKeys {
		return true
	}
	for k, at := range asked {
		if now.Sub(at) >= after {
			delete(asked, k)
		}
	}
	return len(asked) < maxProbeKeys
}

// end ends a probe. An address that has answered costs nothing.
func (p *probes) end(id identity.RemoteIdentity, answered netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.asking, id)
	answered = netip.AddrPortFrom(answered.Addr().Unmap(), answered.Port())
	if _, ok := p.asked[answered]; ok {
		delete(p.asked, answered)
		p.level = max(0, p.level-1)
	}
}
