package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

// Causes of a [DialError] without attempts.
var (
	ErrNoListener  = errors.New("no listener is registered that could reach a peer")
	ErrNoCandidate = errors.New("no way to reach the peer is known: no discovery has found an address of it that this node can dial, and none was given")
)

// An Attempt describes how one candidate failed.
type Attempt struct {
	Candidate Candidate
	Err       error
	Took      time.Duration
}

// A DialError says why no candidate led to the peer.
type DialError struct {
	Peer     identity.RemoteIdentity
	Attempts []Attempt // every candidate, in the order in which they were tried
	Err      error     // a cause other than the candidates, such as ErrNoCandidate or a context's error; or nil
}

func (e *DialError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "p2p: cannot reach %v", e.Peer)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	for i, a := range e.Attempts {
		separator := "; "
		if i == 0 {
			separator = ": "
		}
		fmt.Fprintf(&b, "%s%v: %v", separator, a.Candidate, a.Err)
	}
	return b.String()
}

// Unwrap returns the causes.
func (e *DialError) Unwrap() []error {
	var causes []error
	if e.Err != nil {
		causes = append(causes, e.Err)
	}
	for _, a := range e.Attempts {
		if a.Err != nil {
			causes = append(causes, a.Err)
		}
	}
	return causes
}

// NewStream opens a stream to the peer, connecting if there is no connection.
// ctx bounds the opening only. The peer's handler reads exactly the bytes
// written: if the handler is a [Mux], use [Peer.Open].
//
// The peer learns of the stream with the first bytes written. If it refuses,
// reads and later writes fail with a *[ResetError]. If it cannot be reached,
// the error is a *[DialError].
func (p *Peer) NewStream(ctx context.Context) (*Stream, error) {
	raw, err := p.dial(ctx)
	if err != nil {
		p.node.log.Debug("dial failed", "peer", p.id, "err", shown{err})
		return nil, err
	}
	s, err := p.node.streams.opened(p, raw)
	if err != nil {
		raw.Reset(ErrShuttingDown)
		return nil, err
	}
	return s, nil
}

// Open opens a stream to a route of the peer's [Mux]; otherwise it is like
// [Peer.NewStream]. If the peer does not serve the route, or not to this node,
// the first read or a later write fails with [ErrNoRoute] or [ErrRefused].
func (p *Peer) Open(ctx context.Context, route string) (*Stream, error) {
	header, err := proto.Route(route).AppendBinary(nil)
	if err != nil {
		return nil, fmt.Errorf("p2p: route %q: %w", route, err)
	}
	s, err := p.NewStream(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset(ErrCancelled) })
	_, err = s.Write(header)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		s.Reset(ErrCancelled)
		return nil, fmt.Errorf("p2p: open %q: %w", route, err)
	}
	s.route.Store(&route)
	return s, nil
}

// dial opens a stream to the peer. It remembers a failure.
func (p *Peer) dial(ctx context.Context) (RawStream, error) {
	if err := ctx.Err(); err != nil {
		return nil, &DialError{Peer: p.id, Err: context.Cause(ctx)}
	}
	n := p.node
	more := n.ways(p.id)
	n.mu.Lock()
	via := with(p.state().candidates(), more)
	connected, others, err := n.state.plan(p.id, len(via) > 0)
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	raw, missed, failed := n.tryEach(ctx, p.id, append(connected, others...), via)
	if failed == nil {
		return raw, nil
	}
	if ctx.Err() == nil {
		if raw, _, still := n.tryEach(ctx, p.id, n.connected(p.id, missed), via); still == nil {
			return raw, nil
		}
	}
	if ctx.Err() != context.Canceled { // else it might have led to the peer
		n.mu.Lock()
		n.state.dialFailed(p, failed)
		n.mu.Unlock()
	}
	n.reconfirm(p.id)
	return nil, failed
}

// tryEach asks one listener after the other, each of which races the
// candidates. Those that had no connection even when they failed are missed: what the
// next ones try may give them one.
func (n *P2P) tryEach(ctx context.Context, to identity.RemoteIdentity, listeners []Listener, via []Candidate) (raw RawStream, missed []Listener, failed *DialError) {
	failed = &DialError{Peer: to}
	for i, l := range listeners {
		raw, err := l.Dial(ctx, to, via)
		if err == nil {
			return raw, nil, nil
		}
		if i < len(listeners)-1 && len(n.connected(to, listeners[i:i+1])) == 0 {
			missed = append(missed, l)
		}
		if d, ok := err.(*DialError); ok {
			failed.Attempts = append(failed.Attempts, d.Attempts...)
			err = d.Err
		}
		if err != nil {
			failed.Err = errors.Join(failed.Err, err)
		}
		if ctx.Err() != nil {
			failed.Err = context.Cause(ctx)
			break
		}
	}
	return nil, missed, failed
}

// connected returns those of some listeners that are connected with a peer.
func (n *P2P) connected(id identity.RemoteIdentity, some []Listener) (all []Listener) {
	if len(some) == 0 {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now, _, _ := n.state.plan(id, true)
	for _, l := range some {
		if slices.ContainsFunc(now, func(c Listener) bool { return c.Name() == l.Name() }) {
			all = append(all, l)
		}
	}
	return all
}

// plan returns the listeners to dial a peer with, or why there is no use in
// that: those that are connected with the peer, which come first, and the others;
// both in the order of their registration.
func (s *state) plan(id identity.RemoteIdentity, candidates bool) (connected, others []Listener, err error) {
	if s.hooks.closing {
		return nil, nil, ErrClosed
	}
	if _, revoked := s.peers.revoked[id]; revoked {
		return nil, nil, &DialError{Peer: id, Err: ErrRevoked}
	}
	st := s.peers.known[id]
	for _, r := range s.hooks.running {
		if r.listener == nil {
			continue
		}
		if st != nil && st.connectedBy(r) {
			connected = append(connected, r.listener)
		} else {
			others = append(others, r.listener)
		}
	}
	if len(connected)+len(others) == 0 {
		return nil, nil, &DialError{Peer: id, Err: ErrNoListener}
	}
	if len(connected) == 0 && !candidates {
		return nil, nil, &DialError{Peer: id, Err: ErrNoCandidate}
	}
	return connected, others, nil
}

// reconfirm asks the hooks that discover a peer to check whether it is still
// there, since it could not be reached.
func (n *P2P) reconfirm(id identity.RemoteIdentity) {
	var ask []Reconfirmer
	n.mu.Lock()
	if st := n.state.peers.known[id]; st != nil {
		for _, d := range st.discoveries {
			if r, ok := d.by.hook.(Reconfirmer); ok {
				ask = append(ask, r)
			}
		}
	}
	n.mu.Unlock()
	for _, r := range ask {
		r.Reconfirm(id)
	}
}
