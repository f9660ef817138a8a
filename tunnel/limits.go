package tunnel

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// Limits bound what handshakes cost a responder. Half of InFlight is kept for
// nodes that the directory knows. A known node that exceeds its share waits for
// its turn, so that it takes no more than PeerInFlight places at a time; it is
// refused with [ErrBusy] if that takes longer than 10 s. The other limits apply
// to strangers, which do not wait.
type Limits struct {
	PeerInFlight    int // unfinished handshakes of one peer. If zero, 4
	PeerPerSecond   int // attempts of a stranger in a second. If zero, 5
	InFlight        int // unfinished handshakes in all. If zero, 32
	PerSecond       int // attempts of all strangers in a second. If zero, 50
	AddressInFlight int // unfinished handshakes of strangers at one address. If zero, 8

	// SayBusy makes the responder tell strangers, too, that it is busy
	// ([Session.Busy]). Otherwise they cannot tell a lack of places from a
	// refusal.
	SayBusy bool
}

// silentTime is how long a stranger's handshake without a first message keeps
// its place while others want it.
const silentTime = 300 * time.Millisecond

// A limiter counts handshakes.
type limiter struct {
	Limits

	mu      sync.Mutex
	peers   map[identity.RemoteIdentity]*attempts
	all     attempts
	guests  []*place // of strangers, the oldest first
	waiting []*waiter
}

// attempts are the attempts of one peer, or of all.
type attempts struct {
	inFlight int
	tokens   float64 // attempts that a stranger has left
	at       time.Time
}

// A place belongs to a handshake that is not finished.
type place struct {
	l     *limiter
	peer  *attempts
	addr  netip.Prefix
	began time.Time
	heard bool   // its first message has come
	evict func() // nil: it keeps its place
	left  bool
}

// A waiter is the handshake of a known node that waits for its turn.
type waiter struct {
	peer  identity.RemoteIdentity
	ready chan *place
}

func newLimiter(l Limits) *limiter {
	for _, d := range []struct {
		value *int
		zero  int
	}{{&l.PeerInFlight, 4}, {&l.AddressInFlight, 8}, {&l.PeerPerSecond, 5}, {&l.InFlight, 32}, {&l.PerSecond, 50}} {
		if *d.value <= 0 {
			*d.value = d.zero
		}
	}
	return &limiter{Limits: l, peers: map[identity.RemoteIdentity]*attempts{}}
}

// fill adds the attempts that have become available since the last call.
func (a *attempts) fill(perSecond int, now time.Time) {
	switch {
	case a.at.IsZero():
		a.tokens = float64(perSecond)
	case now.Before(a.at): // goroutines may take the lock in another order than they read the time
		return
	default:
		a.tokens = min(float64(perSecond), a.tokens+now.Sub(a.at).Seconds()*float64(perSecond))
	}
	a.at = now
}

// enter admits the handshake of a known node, once it has its turn.
func (l *limiter) enter(ctx context.Context, peer identity.RemoteIdentity) (*place, error) {
	w := &waiter{peer: peer, ready: make(chan *place, 1)}
	l.mu.Lock()
	l.waiting = append(l.waiting, w)
	l.serve()
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	select {
	case p := <-w.ready:
		return p, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, w); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		return nil, ErrBusy
	}
	return <-w.ready, nil // it has just got its turn
}

// serve gives a place to each waiter that may have one. The caller holds mu.
func (l *limiter) serve() {
	l.waiting = slices.DeleteFunc(l.waiting, func(w *waiter) bool {
		if l.all.inFlight >= l.InFlight {
			return false
		}
		p := l.of(w.peer)
		if p.inFlight >= l.PeerInFlight {
			return false
		}
		w.ready <- l.take(&place{l: l, peer: p}, time.Now())
		return true
	})
}

// of returns the attempts of a peer. The caller holds mu.
func (l *limiter) of(peer identity.RemoteIdentity) *attempts {
	p := l.peers[peer]
	if p == nil {
		p = &attempts{}
		l.peers[peer] = p
	}
	return p
}

// take counts a place as taken. The caller holds mu.
func (l *limiter) take(p *place, now time.Time) *place {
	p.began = now
	p.peer.inFlight++
	l.all.inFlight++
	return p
}

// enterStranger admits a stranger's handshake at once or not at all. If it is
// admitted, evict is called when it has been silent and another one needs its
// place.
func (l *limiter) enterStranger(peer identity.RemoteIdentity, addr netip.Addr, now time.Time, evict func()) (*place, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.fill(l.PerSecond, now)
	if l.all.tokens < 1 {
		return nil, ErrBusy
	}
	if l.peers[peer] == nil {
		l.forget(now)
	}
	p := l.of(peer)
	p.fill(l.PeerPerSecond, now)
	if p.tokens < 1 {
		return nil, ErrBusy
	}
	next := &place{l: l, peer: p, addr: network(addr), evict: evict}
	if p.inFlight >= l.PeerInFlight || !l.room(next, now) {
		return nil, ErrBusy
	}
	p.tokens--
	l.all.tokens--
	l.guests = append(l.guests, l.take(next, now))
	return next, nil
}

// room reports whether there is a place for a stranger's handshake, if need be
// by evicting a silent one: if its own address has too many, one of that
// address; otherwise the oldest that has been silent for a while, then one of
// the address that has the most, then one of a peer that has more. The caller
// holds mu.
func (l *limiter) room(next *place, now time.Time) bool {
	at := map[netip.Prefix]int{}
	for _, p := range l.guests {
		at[p.addr]++
	}
	stale := func(p *place) bool { return now.Sub(p.began) >= silentTime }
	greedy := func(p *place) bool { return p.peer.inFlight > next.peer.inFlight+1 }
	if next.addr.IsValid() && at[next.addr] >= l.AddressInFlight {
		same := func(fits func(*place) bool) bool {
			return l.push(func(p *place) bool { return p.addr == next.addr && fits(p) })
		}
		return same(stale) || same(greedy)
	}
	if l.all.inFlight < l.InFlight && len(l.guests) < l.InFlight-l.InFlight/2 {
		return true
	}
	most := 0
	for _, n := range at {
		most = max(most, n)
	}
	return l.push(stale) || l.push(func(p *place) bool { return at[p.addr] == most && most > at[next.addr]+1 }) || l.push(greedy)
}

// push evicts the first silent handshake that fits. The caller holds mu.
func (l *limiter) push(fits func(*place) bool) bool {
	for _, p := range l.guests {
		if !p.heard && p.evict != nil && fits(p) {
			l.remove(p)
			go p.evict()
			return true
		}
	}
	return false
}

// hear records that a handshake's first message has arrived: it keeps its
// place.
func (p *place) hear() {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.heard = true
}

// leave gives a place back.
func (p *place) leave() {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.l.remove(p)
}

// remove frees a place, once. The caller holds mu.
func (l *limiter) remove(p *place) {
	if p.left {
		return
	}
	p.left = true
	p.peer.inFlight--
	l.all.inFlight--
	if p.peer.at.IsZero() && p.peer.inFlight == 0 { // a known node's: there is nothing else to remember
		maps.DeleteFunc(l.peers, func(_ identity.RemoteIdentity, o *attempts) bool { return o == p.peer })
	}
	l.guests = slices.DeleteFunc(l.guests, func(o *place) bool { return o == p })
	l.serve()
}

// forget drops peers that have been quiet for a second, whose limits have
// recovered. The limits for all peers bound the number of the others.
func (l *limiter) forget(now time.Time) {
	for id, p := range l.peers {
		if p.inFlight == 0 && now.Sub(p.at) >= time.Second {
			delete(l.peers, id)
		}
	}
}

// network returns the prefix that counts as one address: for IPv6, the first 64
// bits.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // not known
	}
	return p
}
