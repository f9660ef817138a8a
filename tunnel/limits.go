package tunnel

import (
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// Limits bound what handshakes cost a responder. Half of InFlight and of PerSecond is reserved for nodes that the directory
// knows.
type Limits struct {
	PeerInFlight  int // unfinished handshakes of a peer. If zero, 4
	PeerPerSecond int // attempts of a peer in a second. If zero, 5
	InFlight      int // unfinished handshakes in all. If zero, 32
	PerSecond     int // attempts in a second in all. If zero, 100
}

// A limiter counts handshakes.
type limiter struct {
	Limits

	mu    sync.Mutex
	peers map[identity.RemoteIdentity]*attempts
	all   attempts
}

// attempts are those of a peer, or of all.
type attempts struct {
	inFlight int
	tokens   float64 // what is left of the attempts in a second
	at       time.Time
}

func newLimiter(l Limits) *limiter {
	for _, d := range []struct {
		value *int
		zero  int
	}{{&l.PeerInFlight, 4}, {&l.PeerPerSecond, 5}, {&l.InFlight, 32}, {&l.PerSecond, 100}} {
		if *d.value <= 0 {
			*d.value = d.zero
		}
	}
	return &limiter{Limits: l, peers: map[identity.RemoteIdentity]*attempts{}}
}

// fill adds what has become free since the last time.
func (a *attempts) fill(perSecond int, now time.Time) {
	switch {
	case a.at.IsZero():
		a.tokens = float64(perSecond)
	case now.Before(a.at): // who took the time first need not come first
		return
	default:
		a.tokens = min(float64(perSecond), a.tokens+now.Sub(a.at).Seconds()*float64(perSecond))
	}
	a.at = now
}

// enter admits a handshake, until leave is called.
func (l *limiter) enter(peer identity.RemoteIdentity, known bool, now time.Time) (leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.fill(l.PerSecond, now)
	slots, reserve := l.InFlight, 0.0
	if !known {
		slots, reserve = l.InFlight-l.InFlight/2, float64(l.PerSecond/2)
	}
	if l.all.inFlight >= slots || l.all.tokens-reserve < 1 {
		return nil, ErrBusy
	}
	p := l.peers[peer]
	if p == nil {
		l.forget(now)
		p = &attempts{}
		l.peers[peer] = p
	}
	p.fill(l.PeerPerSecond, now)
	if p.inFlight >= l.PeerInFlight || p.tokens < 1 {
		return nil, ErrBusy
	}
	for _, a := range []*attempts{p, &l.all} {
		a.inFlight++
		a.tokens--
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		p.inFlight--
		l.all.inFlight--
	}, nil
}

// forget drops peers that have been quiet for a second: they may do again what they may do at first. The limits in all
// bound how many others there are.
func (l *limiter) forget(now time.Time) {
	for id, p := range l.peers {
		if p.inFlight == 0 && now.Sub(p.at) >= time.Second {
			delete(l.peers, id)
		}
	}
}
