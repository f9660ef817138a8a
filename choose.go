package p2p

import (
	"context"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// A Choice opens a stream to a peer through the listener that it belongs to, or
// with rest, which tries the node's other listeners. If it has opened a stream
// that it does not return, it resets the stream. It is called under the same
// conditions as [Listener.Dial], and fails in the same ways.
type Choice func(ctx context.Context, to identity.RemoteIdentity, via []Candidate, rest func(context.Context) (RawStream, error)) (RawStream, error)

// Choose lets a listener choose how the node opens streams for as long as the
// listener runs, because it carries some streams better than the other
// listeners do, or reaches peers that these do not. Without a Choice, listeners
// are tried one after the other. Only the latest call of Choose counts.
func (s *Scope) Choose(choice Choice) {
	n := s.node
	open := func(ctx context.Context, to identity.RemoteIdentity, all []Listener, via []Candidate) (RawStream, *DialError) {
		n.mu.Lock()
		live := s.reg.live
		n.mu.Unlock()
		if !live {
			return n.tryAll(ctx, to, all, via)
		}
		rest := slices.DeleteFunc(slices.Clone(all), func(l Listener) bool { return l.Name() == s.reg.name })
		raw, err := choice(ctx, to, via, func(ctx context.Context) (RawStream, error) { return n.askSome(ctx, to, rest, via) })
		if err == nil {
			return raw, nil
		}
		if failed, ok := err.(*DialError); ok {
			return nil, failed
		}
		return nil, &DialError{Peer: to, Err: err}
	}
	_ = s.do(func(st *state) error {
		st.hooks.open = open
		return nil
	})
}

// askSome is tryAll with an error that is nil on success. It also fails if
// there are no listeners.
func (n *P2P) askSome(ctx context.Context, to identity.RemoteIdentity, some []Listener, via []Candidate) (RawStream, error) {
	if len(some) == 0 {
		return nil, &DialError{Peer: to, Err: ErrNoListener}
	}
	raw, failed := n.tryAll(ctx, to, some, via)
	if failed != nil {
		return nil, failed
	}
	return raw, nil
}

// Others connects with a peer over the node's other listeners. It fails with a
// *[DialError] if none of them reaches the peer, and blocks as long as ctx
// allows.
func (s *Scope) Others(ctx context.Context, to identity.RemoteIdentity) error {
	n := s.node
	more := n.ways(to)
	n.mu.Lock()
	via := with(n.state.peers.known[to].candidates(), more)
	connected, others, err := n.state.plan(to, len(via) > 0)
	n.mu.Unlock()
	if err != nil {
		return err
	}
	var rest []Listener
	for _, l := range append(connected, others...) {
		if l.Name() != s.reg.name {
			rest = append(rest, l)
		}
	}
	raw, err := n.askSome(ctx, to, rest, via)
	if err == nil {
		raw.Reset(ErrCanceled)
	}
	return err
}

// A Link is a connection with a peer, as its listener sees it.
type Link struct {
	Listener string
	Conn     RawConn
}

// Links returns the connections with a peer, in no particular order.
func (s *Scope) Links(id identity.RemoteIdentity) (all []Link) {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	if st := s.node.state.peers.known[id]; st != nil {
		for _, c := range st.connections {
			all = append(all, Link{c.by.name, c.conn})
		}
	}
	return all
}
