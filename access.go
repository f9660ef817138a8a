package p2p

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

// ErrRevoked is the error of requests to, or by, a peer that was revoked with
// [P2P.Revoke].
var ErrRevoked = fmt.Errorf("%w: the peer is revoked", ErrRefused)

// An Action is a peer's wish.
type Action uint8

const (
	Connect    Action = iota + 1 // a connection
	OpenStream                   // a stream to a handler
	OpenTunnel                   // a tunnel to a library, as one of its members
)

// String returns the action in words.
func (a Action) String() string {
	switch a {
	case Connect:
		return "connect"
	case OpenStream:
		return "open a stream"
	case OpenTunnel:
		return "open a tunnel"
	}
	return fmt.Sprintf("Action(%d)", uint8(a))
}

// A Request is a peer's request that [Config.Allow] decides about. Allow is not
// consulted about what this node initiates.
type Request struct {
	Action Action
	Peer   identity.RemoteIdentity // as the connection has authenticated it
	Path   Path                    // not of OpenTunnel

	// Of OpenTunnel. Only after the answer does the peer prove that it
	// holds the instance's key.
	Library  uuid.UUID
	Instance identity.RemoteIdentity
}

// Allows decides about a peer's request: the peer must not be revoked, and
// [Config.Allow], if there is one, must agree. Listeners call it before using
// an inbound connection, and hooks that offer tunnels before opening one. The
// node itself calls it for streams.
//
// It takes up to 2 s. It fails with [ErrRevoked]; with [ErrBusy] if too many
// calls of Config.Allow run ([Config.MaxAllowCalls]); or with an error that
// wraps [ErrRefused] and the error of Config.Allow.
func (n *P2P) Allows(ctx context.Context, r Request) error {
	if n.Revoked(r.Peer) {
		return ErrRevoked
	}
	if n.gate.allow == nil {
		return nil
	}
	if err := n.gate.enter(r.Peer, n.isTracked(r.Peer)); err != nil {
		n.log.Debug("request refused", "peer", r.Peer, "action", r.Action, "err", err)
		return err
	}
	err := n.ask(ctx, r)
	if err == nil {
		return nil
	}
	if panicked := (*PanicError)(nil); errors.As(err, &panicked) {
		n.log.Error("Config.Allow panicked", "peer", r.Peer, "action", r.Action, "panic", panicked.Value, "stack", string(panicked.Stack))
	} else {
		n.log.Debug("request refused", "peer", r.Peer, "action", r.Action, "err", err)
	}
	return fmt.Errorf("%w: %w", ErrRefused, err)
}

// isTracked reports whether a hook keeps the peer in view.
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
// Revocations last as long as the node: an app that wants more keeps them, and
// repeats them before hooks are registered.
func (n *P2P) Revoke(id identity.RemoteIdentity) {
	n.mu.Lock()
	open := n.state.revoke(id)
	n.mu.Unlock()
	n.streams.resetAll(id)
	for _, c := range open {
		_ = c.Close() // it is gone one way or the other
	}
}

// Reinstate takes back [P2P.Revoke].
func (n *P2P) Reinstate(id identity.RemoteIdentity) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state.reinstate(id)
}

// Revoked reports whether a peer is revoked.
func (n *P2P) Revoked(id identity.RemoteIdentity) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, revoked := n.state.peers.revoked[id]
	return revoked
}
