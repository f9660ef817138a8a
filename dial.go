package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

// NewStream opens a stream to the peer, connecting first if needed. ctx bounds
// only the opening. The peer's handler reads exactly the bytes written: if the
// handler is a [Mux], use [Peer.Open].
//
// The peer learns of the stream with the first bytes written. If it refuses,
// reads and later writes fail with a *[ResetError]. If it cannot be reached,
// the error is a *[DialError].
func (p *Peer) NewStream(ctx context.Context) (*Stream, error) {
	return p.newStream(ctx, "")
}

func (p *Peer) newStream(ctx context.Context, route string) (*Stream, error) {
	raw, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	s, err := p.node.streams.opened(p, raw, route)
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
	s, err := p.newStream(ctx, route)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset(ErrCanceled) })
	_, err = s.Write(header)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		s.Reset(ErrCanceled)
		return nil, fmt.Errorf("p2p: open %q: %w", route, err)
	}
	return s, nil
}

// dial opens a stream to the peer, and records a failure.
func (p *Peer) dial(ctx context.Context) (RawStream, error) {
	n := p.node
	if err := ctx.Err(); err != nil {
		return nil, n.notDialed(p, &DialError{Peer: p.id, Err: context.Cause(ctx)})
	}
	more := n.ways(p.id)
	n.mu.Lock()
	via := with(p.state().candidates(), more)
	connected, others, err := n.state.plan(p.id, len(via) > 0)
	open := n.state.hooks.open
	n.mu.Unlock()
	if err != nil {
		return nil, n.notDialed(p, err)
	}
	all := append(connected, others...)
	var raw RawStream
	var failed *DialError
	if open != nil {
		raw, failed = open(ctx, p.id, all, via)
	} else {
		raw, failed = n.tryAll(ctx, p.id, all, via)
	}
	if failed == nil {
		return raw, nil
	}
	canceled := ctx.Err() == context.Canceled // else it might have led to the peer
	_ = n.change(nil, func(st *state) error {
		st.dialFailed(p, failed, canceled)
		return nil
	})
	n.reconfirm(p.id)
	return nil, failed
}

// notDialed records that there was nothing to try.
func (n *P2P) notDialed(p *Peer, err error) error {
	n.note(&note{what: kindDialFailed, peer: p.id, in: &circumstances{cause: err}}, countDials, causeOf(err))
	return err
}

// tryAll tries one listener after the other, and then once more those that have
// obtained a connection meanwhile.
func (n *P2P) tryAll(ctx context.Context, to identity.RemoteIdentity, listeners []Listener, via []Candidate) (RawStream, *DialError) {
	raw, missed, failed := n.tryEach(ctx, to, listeners, via)
	if failed == nil {
		return raw, nil
	}
	if ctx.Err() == nil {
		if raw, _, still := n.tryEach(ctx, to, n.connected(to, missed), via); still == nil {
			return raw, nil
		}
	}
	return nil, failed
}

// tryEach tries one listener after the other, each of which races the
// candidates. It returns as missed those that still had no connection when they
// failed: the attempts of later listeners may give them one.
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

// reconfirm asks the hooks that discover a peer to check whether it is still
// there, after it could not be reached.
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
