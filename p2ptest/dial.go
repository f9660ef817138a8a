package p2ptest

import (
	"context"
	"fmt"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A dial is one attempt to connect, with all candidates at once.
type dial struct {
	network *Network
	to      identity.RemoteIdentity
	began   time.Time
	tried   []tried

	// Set by plan.
	from *host
	peer *host             // nil if no candidate leads to the peer
	kind p2p.CandidateKind // of the first one that does
	link *Link
}

// A tried is a candidate with its outcome and the time that it takes.
type tried struct {
	candidate p2p.Candidate
	err       error
	takes     time.Duration
}

// Dial opens a stream over an existing or a new connection with the peer.
func (l *listener) Dial(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	n := l.network
	d := &dial{network: n, to: to, began: time.Now()}
	for _, c := range via {
		if c.Kind == p2p.Direct || c.Kind == p2p.Manual {
			d.tried = append(d.tried, tried{candidate: c})
		}
	}
	if ctx.Err() != nil {
		return nil, d.failed(context.Cause(ctx))
	}
	n.mu.Lock()
	h := n.hosts[l.addr]
	if h == nil {
		n.mu.Unlock()
		return nil, d.failed(p2p.ErrStopped)
	}
	if to == h.id {
		n.mu.Unlock()
		return nil, d.failed(p2p.ErrSelf)
	}
	if e := h.endTo(to); e != nil {
		defer n.mu.Unlock()
		return e.newStream(), nil
	}
	if len(d.tried) == 0 {
		n.mu.Unlock()
		return nil, d.failed(p2p.ErrNoCandidate)
	}
	d.plan(h)
	n.mu.Unlock()

	if d.peer != nil {
		if err := d.wait(ctx, d.link.roundTrip()); err != nil {
			return nil, d.failed(err)
		}
		if err := d.peer.scope.Node().Allows(ctx, p2p.Request{Action: p2p.Connect, Peer: d.from.id, Path: d.from.pathIn()}); err != nil {
			return nil, d.failed(fmt.Errorf("%w: closed by the peer", p2p.ErrConnectionLost))
		}
		if s := d.connect(); s != nil {
			return s, nil
		}
	}
	for _, c := range d.tried {
		if err := d.wait(ctx, c.takes); err != nil {
			return nil, d.failed(err)
		}
	}
	return nil, d.failed(nil)
}

// plan determines the outcome of each candidate, which is a failure until
// connect succeeds. The caller holds network.mu.
func (d *dial) plan(from *host) {
	n := d.network
	d.from, d.link = from, n.link(from.id, d.to)
	passes := d.link.dial()
	for i := range d.tried {
		c := &d.tried[i]
		c.err, c.takes = ErrUnreachable, n.cfg.DialTimeout
		h := n.hosts[c.candidate.Addr]
		switch {
		case h == nil, !from.meets(h):
		case h.id == d.to:
			if passes && d.link.roundTrip() <= n.cfg.DialTimeout {
				if d.peer == nil {
					d.kind = c.candidate.Kind
				}
				d.peer = h
			}
		default:
			if l := n.link(from.id, h.id); !l.cut {
				c.err, c.takes = ErrOtherNode, min(l.roundTrip(), n.cfg.DialTimeout)
			}
		}
	}
}

// wait waits until the dial has taken the time long.
func (d *dial) wait(ctx context.Context, long time.Duration) error {
	rest := time.Until(d.began.Add(long))
	if rest <= 0 {
		return nil
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.from.done:
		return p2p.ErrStopped
	}
}

// connect opens a stream over an existing connection with the peer, or else a
// new one. It returns nil if that is no longer possible.
func (d *dial) connect() p2p.RawStream {
	n := d.network
	n.mu.Lock()
	defer n.mu.Unlock()
	e := d.from.endTo(d.to)
	if e == nil {
		if d.link.cut || !d.from.reachable() || !d.peer.reachable() || !d.from.meets(d.peer) {
			return nil
		}
		e = connect(d.from, d.peer, d.kind, d.link)
	}
	return e.newStream()
}

// failed returns the error of the dial. cause, if not nil, applies to all
// candidates that have no outcome yet.
func (d *dial) failed(cause error) error {
	took := time.Since(d.began)
	e := &p2p.DialError{Peer: d.to, Err: cause}
	for _, c := range d.tried {
		if cause != nil && (c.err == nil || c.takes > took) {
			c.err, c.takes = cause, took
		}
		e.Attempts = append(e.Attempts, p2p.Attempt{Candidate: c.candidate, Err: c.err, Took: c.takes})
	}
	return e
}
