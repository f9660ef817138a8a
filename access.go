package p2p

import (
	"context"
	"errors"
	"fmt"

	"github.com/sdp2p/p2p/identity"
)

// ErrRevoked is returned where something is asked of, or by, a peer that was revoked with [P2P.Revoke].
var ErrRevoked = fmt.Errorf("%w: the peer is revoked", ErrRefused)

// An Action is what a peer asks for.
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

// A Request is what [Config.Allow] decides about: something that a peer asks for. What this node itself begins is not asked
// about.
type Request struct {
	Action Action
	Peer   identity.RemoteIdentity // as the connection has authenticated it
	Path   Path                    // not of OpenTunnel

	// Of OpenTunnel. That the peer holds the instance's key is proved only after the answer.
	Library  [16]byte
	Instance identity.RemoteIdentity
}

// Allows asks whether a peer may have what it asks for: it must not be revoked, and [Config.Allow], if there is one, must
// agree. Listeners ask before they use an inbound connection, hooks that offer tunnels before these; streams the node asks
// about itself. The error, if not nil, wraps [ErrRefused]; it is [ErrRevoked], or says what Config.Allow
// returned. It takes up to 2 s.
func (n *P2P) Allows(ctx context.Context, r Request) error {
	if n.Revoked(r.Peer) {
		return ErrRevoked
	}
	if n.gate.allow == nil {
		return nil
	}
	err := n.ask(ctx, r)
	if err == nil {
		return nil
	}
	if panicked := (*PanicError)(nil); errors.As(err, &panicked) {
		n.log.Error("Config.Allow panicked", "peer", r.Peer, "action", r.Action, "panic", panicked.Value, "stack", string(panicked.Stack))
	} else {
		n.log.Debug("refused by Config.Allow", "peer", r.Peer, "action", r.Action, "err", err)
	}
	return fmt.Errorf("%w: %w", ErrRefused, err)
}

// Revoke closes all connections with a peer and refuses new ones, in both directions, until [P2P.Reinstate]. Streams to it
// fail. It returns when the connections are closed. A revoked peer may still be discovered.
//
// Revocations last as long as the node: an app that wants more keeps them, and repeats them before hooks are registered.
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
