package p2p

import (
	"context"
	"errors"
	"fmt"

	"github.com/sdp2p/p2p/identity"
)

// Allows decides whether a peer's request is allowed: the peer must not be
// revoked, and [Config.Allow], if set, must agree. Listeners call it before
// using an inbound connection, and hooks that offer tunnels before opening one.
// The node itself calls it for streams.
//
// It takes up to 2 s. It fails with [ErrRevoked] if the peer is revoked, with
// [ErrBusy] if too many calls of Config.Allow are running
// ([Config.MaxAllowCalls]), and otherwise with an error that wraps [ErrRefused]
// and the error of Config.Allow.
func (n *P2P) Allows(ctx context.Context, r Request) error {
	err := n.allowed(ctx, r)
	if err != nil && r.Action != OpenStream { // which is noted with its route
		in := &circumstances{path: r.Path, cause: fmt.Errorf("%v: %w", r.Action, err)}
		n.note(&note{what: kindRefused, peer: r.Peer, in: in}, countRefused, r.Action.String())
	}
	return err
}

func (n *P2P) allowed(ctx context.Context, r Request) error {
	if n.Revoked(r.Peer) {
		return ErrRevoked
	}
	if n.gate.allow == nil {
		return nil
	}
	if err := n.gate.enter(r.Peer, n.isTracked(r.Peer)); err != nil {
		return err
	}
	err := n.ask(ctx, r)
	if err == nil {
		return nil
	}
	if panicked := (*PanicError)(nil); errors.As(err, &panicked) {
		n.log.Error("Config.Allow panicked", "peer", r.Peer, "action", r.Action, "panic", panicked.Value, "stack", string(panicked.Stack))
	}
	return fmt.Errorf("%w: %w", ErrRefused, err)
}

// isTracked reports whether the app or a hook keeps the peer in view.
func (n *P2P) isTracked(id identity.RemoteIdentity) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.peers.tracked[id] != nil
}

// isStranger reports whether a peer is neither tracked nor behind a [Manual]
// candidate.
func (n *P2P) isStranger(id identity.RemoteIdentity) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.peers.stranger(id)
}

// Revoke closes all connections with a peer and refuses new ones, in both
// directions, until [P2P.Reinstate]. Streams to it fail. It returns when the
// connections are closed. A revoked peer may still be discovered.
//
// Revocations last as long as the node. An app that needs them longer stores
// them, and repeats them before it registers hooks.
func (n *P2P) Revoke(id identity.RemoteIdentity) {
	var open []RawConn
	_ = n.change(nil, func(st *state) error {
		open = st.revoke(id)
		return nil
	})
	n.streams.resetAll(id)
	for _, c := range open {
		_ = c.Close() // it is gone one way or the other
	}
}

// Reinstate undoes [P2P.Revoke].
func (n *P2P) Reinstate(id identity.RemoteIdentity) {
	_ = n.change(nil, func(st *state) error {
		st.reinstate(id)
		return nil
	})
}

// Revoked reports whether a peer is revoked.
func (n *P2P) Revoked(id identity.RemoteIdentity) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, revoked := n.state.peers.revoked[id]
	return revoked
}

// ask calls Config.Allow and waits at most gateTime for the answer. The caller
// has taken a place, which a call that does not return keeps.
func (n *P2P) ask(ctx context.Context, r Request) error {
	if !n.streams.hold() {
		n.gate.leave(r.Peer)
		return ErrClosed
	}
	ctx, cancel := context.WithTimeoutCause(ctx, gateTime, errors.New("no answer in 2 s"))
	stop := context.AfterFunc(n.streams.ctx, cancel) // at shutdown
	answer := make(chan error, 1)
	go func() {
		defer stop()
		defer n.streams.handlers.Done()
		defer cancel()
		err := errExited
		defer func() {
			n.gate.leave(r.Peer) // first: the peer may ask again as soon as it has its answer
			answer <- err
		}()
		err = protect(func() error { return n.gate.allow(ctx, r) })
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-answer: // it has just come
		return err
	default:
		return context.Cause(ctx)
	}
}
