package quic

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	tpt "github.com/libp2p/go-libp2p/core/transport"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/labels"
)

// candidateLead is the time between the starts of two candidates (RFC 8305 §5).
const candidateLead = 250 * time.Millisecond

// A race comprises all concurrent dials to one peer: they share their attempts
// and the resulting connection.
type race struct {
	endpoint *endpoint
	to       identity.RemoteIdentity
	ctx      context.Context // done when no dial is waiting any more, or an attempt has won
	cancel   context.CancelFunc
	over     chan struct{} // closed when there is a connection or nothing left to try
	more     chan struct{} // of size 1: tries has grown

	mu      sync.Mutex // taken after the endpoint's
	waiting int        // number of waiting dials
	tries   []*try
	won     bool  // a try has a connection, and is about to report it
	conn    *conn // readable once over is closed; nil if all have failed
}

// A try is one candidate of a race. Its fields are under the race's mu.
type try struct {
	addr  netip.AddrPort
	relay identity.RemoteIdentity // instead of addr
	kind  p2p.CandidateKind
	began time.Time // zero before that
	took  time.Duration
	err   error // nil while it is not finished
}

// connect makes a connection, or waits for one that the peer makes.
func (e *endpoint) connect(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (*conn, error) {
	failed := &p2p.DialError{Peer: to, Attempts: make([]p2p.Attempt, len(via))}
	var tries []p2p.Candidate
	for i, c := range via {
		failed.Attempts[i].Candidate = c
		if failed.Attempts[i].Err = e.dialable(c); failed.Attempts[i].Err == nil {
			tries = append(tries, c)
		}
	}
	if len(tries) == 0 {
		if len(via) == 0 {
			failed.Err = p2p.ErrNoCandidate
		}
		return nil, failed
	}
	r, err := e.enter(to, tries)
	if err != nil {
		failed.Err = err
		return nil, failed
	}
	c, err := r.wait(ctx)
	defer r.leave()
	if c != nil {
		return c, nil
	}
	failed.Err = err
	for i, a := range failed.Attempts {
		if a.Err == nil {
			failed.Attempts[i].Took, failed.Attempts[i].Err = r.result(a.Candidate)
		}
	}
	return nil, failed
}

// of reports whether a try belongs to a candidate. For relays, the address does
// not matter.
func (t *try) of(c p2p.Candidate) bool {
	return t.relay == c.Relay && (c.Kind == p2p.Relay || t.addr == unmap(c.Addr))
}

// enter joins the race for a peer, or starts one.
func (e *endpoint) enter(to identity.RemoteIdentity, via []p2p.Candidate) (*race, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return nil, ErrNotRunning
	}
	r := e.races[to]
	if r == nil {
		r = &race{endpoint: e, to: to, over: make(chan struct{}), more: make(chan struct{}, 1)}
		r.ctx, r.cancel = context.WithCancel(e.ctx)
		e.races[to] = r
		e.tasks.Go(r.run)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting++
	order(via, func(a netip.AddrPort) bool { return e.worked.is(to, a) })
	for _, c := range via {
		if !slices.ContainsFunc(r.tries, func(t *try) bool { return t.of(c) }) {
			r.tries = append(r.tries, &try{addr: unmap(c.Addr), relay: c.Relay, kind: c.Kind})
		}
	}
	signal(r.more)
	return r, nil
}

// distance ranks addresses: first those on a local network, where a peer that
// was discovered there most likely answers, and last IPv6 link-local ones, on
// which many nodes do not listen.
func distance(ip netip.Addr) int {
	switch ip = ip.Unmap(); {
	case ip.Is6() && ip.IsLinkLocalUnicast():
		return 2
	case ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast():
		return 0
	}
	return 1
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// wait returns the connection that results from the race, or that the peer
// makes meanwhile. If it returns neither a connection nor an error, all tries
// have failed.
func (r *race) wait(ctx context.Context) (*conn, error) {
	e := r.endpoint
	for {
		e.mu.Lock()
		c, added := e.bestLocked(r.to), e.added
		e.mu.Unlock()
		if c != nil {
			return c, nil
		}
		select {
		case <-added:
		case <-r.over:
			return r.conn, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// leave removes a dial from the race, which ends with the last dial.
func (r *race) leave() {
	r.endpoint.mu.Lock()
	defer r.endpoint.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting--; r.waiting == 0 {
		r.close()
	}
}

// close lets no more dials join. The caller holds the endpoint's mu.
func (r *race) close() {
	r.cancel()
	if r.endpoint.races[r.to] == r {
		delete(r.endpoint.races, r.to)
	}
}

// result returns how long a candidate was tried, and why it failed.
func (r *race) result(c p2p.Candidate) (took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tries {
		switch {
		case !t.of(c):
		case t.began.IsZero():
			return 0, errNotTried
		case t.err == nil:
			return time.Since(t.began), errNotFinished
		default:
			return t.took, t.err
		}
	}
	return 0, errNotTried
}

// run starts one try after the other until one has won or all have failed.
func (r *race) run() {
	labels.With(r.ctx, r.endpoint.listener.Name(), r.to, "")
	var running sync.WaitGroup
	defer running.Wait()
	defer r.end()
	ended := make(chan *conn)
	next := time.NewTimer(0)
	defer next.Stop()
	var last time.Time // start of the last try
	for open := 0; ; {
		select {
		case <-r.ctx.Done():
			return
		case <-r.more:
			next.Reset(time.Until(last.Add(candidateLead)))
		case <-next.C:
			t := r.next()
			if t == nil {
				continue
			}
			open++
			running.Go(func() {
				c := r.dial(t)
				select {
				case ended <- c:
				case <-r.ctx.Done():
				}
			})
			last = time.Now()
			next.Reset(candidateLead)
		case c := <-ended:
			open--
			if c != nil || open == 0 && r.exhausted() {
				r.conn = c
				return
			}
			next.Reset(0)
		}
	}
}

// end closes the race, and wakes its dials.
func (r *race) end() {
	r.endpoint.mu.Lock()
	defer r.endpoint.mu.Unlock()
	r.close()
	close(r.over)
}

// next returns the next address to try, or nil.
func (r *race) next() *try {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tries {
		if t.began.IsZero() {
			t.began = time.Now()
			return t
		}
	}
	return nil
}

// exhausted reports whether nothing is left to try; if so, it lets no more
// dials join.
func (r *race) exhausted() bool {
	r.endpoint.mu.Lock()
	defer r.endpoint.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.tries, func(t *try) bool { return t.began.IsZero() }) {
		return false
	}
	r.close()
	return true
}

// dial tries one candidate. If several answer, only one wins.
func (r *race) dial(t *try) *conn {
	tc, err := r.endpoint.dialBy(r.ctx, t, r.to)
	var c *conn
	if err == nil {
		c, err = r.win(tc, t)
	}
	if err != nil && t.kind != p2p.Relay {
		r.endpoint.worked.failed(r.to, t.addr, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.took, t.err = time.Since(t.began), err
	if errors.Is(err, junction.ErrTaken) {
		r.cancel() // another listener has a connection; the dials that wait then read t.err
	}
	return c
}

func (e *endpoint) dialBy(ctx context.Context, t *try, to identity.RemoteIdentity) (tpt.CapableConn, error) {
	if t.kind == p2p.Relay {
		a := e.listener.routed()
		if a == nil {
			return nil, ErrNoRelays
		}
		return a.dial(e, ctx, t, to)
	}
	return e.dial(ctx, t.addr, to)
}

// win accepts the first connection of the race, and closes others.
func (r *race) win(tc tpt.CapableConn, t *try) (*conn, error) {
	r.mu.Lock()
	won := !r.won && r.ctx.Err() == nil
	r.won = r.won || won
	r.mu.Unlock()
	if !won {
		tc.CloseWithError(0)
		return nil, errDialFinished
	}
	c, err := r.endpoint.connected(tc, p2p.Path{Kind: t.kind, Dialed: true})
	if err != nil {
		r.mu.Lock()
		r.won = false
		r.mu.Unlock()
	}
	return c, err
}
