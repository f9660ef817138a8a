package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// ErrRevoked is returned where something is asked of, or by, a peer that was revoked with [P2P.Revoke].
var ErrRevoked = fmt.Errorf("%w: the peer is revoked", ErrRefused)

const (
	gateTime = 2 * time.Second // how long Config.Allow may take
	maxGates = 256             // calls of Config.Allow at one time
)

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
	if n.allow == nil {
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

// ask calls Config.Allow, and does not wait for it longer than allowed. A call that does not return keeps its place.
func (n *P2P) ask(ctx context.Context, r Request) error {
	ctx, cancel := context.WithTimeoutCause(ctx, gateTime, errors.New("no answer in 2 s"))
	select {
	case n.gates <- struct{}{}:
	default:
		cancel()
		return errors.New("too many questions wait for an answer")
	}
	if !n.streams.hold() {
		cancel()
		<-n.gates
		return ErrClosed
	}
	stop := context.AfterFunc(n.streams.ctx, cancel) // at shutdown
	answer := make(chan error, 1)
	go func() {
		defer stop()
		defer n.streams.handlers.Done()
		defer func() { <-n.gates }()
		defer cancel()
		err := errExited
		defer func() { answer <- err }()
		err = protect(func() error { return n.allow(ctx, r) })
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

// Revoke closes all connections with a peer and refuses new ones, in both directions, until [P2P.Reinstate]. Streams to it
// fail. It returns when the connections are closed. A revoked peer may still be discovered.
//
// Revocations last as long as the node: an app that wants more keeps them, and repeats them before hooks are registered.
func (n *P2P) Revoke(id identity.RemoteIdentity) {
	n.mu.Lock()
	if _, already := n.revoked[id]; !already {
		n.revoked[id] = struct{}{}
		n.revokedStamp = n.stamp()
		n.publish(RevocationsModified{})
	}
	var open []RawConn
	if st := n.peers[id]; st != nil {
		for _, c := range st.connections {
			open = append(open, c.conn)
		}
	}
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
	if _, revoked := n.revoked[id]; revoked {
		delete(n.revoked, id)
		n.revokedStamp = n.stamp()
		n.publish(RevocationsModified{})
	}
}

// Revoked reports whether a peer is revoked.
func (n *P2P) Revoked(id identity.RemoteIdentity) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.revoked[id]
	return ok
}

// resetAll resets the streams with a peer.
func (ss *streams) resetAll(id identity.RemoteIdentity) {
	ss.mu.Lock()
	open := slices.DeleteFunc(ss.snapshot(), func(s *Stream) bool { return s.peer.id != id })
	ss.mu.Unlock()
	for _, s := range open {
		s.Reset(ErrRefused)
	}
}
