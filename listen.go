package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/backlog"
)

// Listen registers a route and returns a listener for its streams, for servers
// that take a listener: [net/http.Server], gRPC, SSH, yamux. Each connection is
// a [*Stream], which is being served until the server closes it. Listen panics
// as [Mux.Handle] does.
//
// At most 128 streams wait for Accept, and at most 64 of one peer; further ones
// are refused with [ErrBusy].
//
// Close frees the route: waiting and later streams are refused with
// [ErrNoRoute], Accept fails with an error that wraps [net.ErrClosed], and
// accepted connections live on. [P2P.Shutdown] of the node that has m as its
// [Config.Handler], or of the last of several such nodes, ends the listener in
// the same way. Shut a server down before its node: [P2P.Shutdown] makes reads
// from its connections fail, and waits for them to be closed.
//
// Addr returns the address of the latest node whose Handler is m, or the zero
// address if there is none, for instance because m is only a part of the
// Handler.
func (m *Mux) Listen(route string, access Access) net.Listener {
	l := &listener{mux: m, route: route, queue: backlog.New()}
	m.Handle(route, access, l)
	return l
}

// A listener serves its route.
type listener struct {
	mux   *Mux
	route string
	queue *backlog.Queue
}

// ServeStream queues the stream for Accept, and returns once the accepted
// stream has ended.
func (l *listener) ServeStream(ctx context.Context, s *Stream) error {
	switch err := l.queue.Serve(ctx, s.peer.id, s, s.Done(), nil); {
	case err == nil:
		return nil
	case errors.Is(err, backlog.ErrFull):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case ctx.Err() != nil:
		return ErrShuttingDown
	default:
		return fmt.Errorf("%w: %w", ErrNoRoute, err)
	}
}

// Accept returns the next stream of the route.
func (l *listener) Accept() (net.Conn, error) { return l.queue.Accept() }

// Close frees the route.
func (l *listener) Close() error {
	if !l.close(net.ErrClosed) {
		return fmt.Errorf("p2p: close the listener of %q: %w", l.route, net.ErrClosed)
	}
	return nil
}

// close is Close for a reason. It reports whether the listener was open.
func (l *listener) close(reason error) bool {
	closed := l.queue.Close(fmt.Errorf("p2p: accept streams of %q: %w", l.route, reason))
	if closed {
		l.mux.remove(l.route)
	}
	return closed
}

// Addr returns the address of the node.
func (l *listener) Addr() net.Addr {
	l.mux.mu.RLock()
	defer l.mux.mu.RUnlock()
	if n := len(l.mux.nodes); n > 0 {
		return l.mux.nodes[n-1].Addr()
	}
	return identity.Addr{}
}

// DialContext returns a function that opens streams to a route, given the
// address of a peer: its host name ([identity.RemoteIdentity.Host]), with any
// port or none. The function has the signature that [net/http.Transport] and
// many others expect of dialers, and ignores the network. It fails as
// [Peer.Open] does, and with [identity.ErrInvalid] if the address is not valid.
//
// The peer need not be available: it is also tried through relays. A client
// that pools idle connections keeps them open, and [P2P.Shutdown] waits for
// them: close them first ([net/http.Client.CloseIdleConnections]).
func (n *P2P) DialContext(route string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		id, err := identity.ParseAddr(addr)
		if err != nil {
			return nil, fmt.Errorf("p2p: dial %q of %q: %w", route, addr, err)
		}
		s, err := n.peer(id).Open(ctx, route)
		if err != nil {
			return nil, err // and no *Stream, which would not be nil
		}
		return s, nil
	}
}

// peer returns the *Peer of an identity: the one that is available or tracked,
// or else a new one to dial with.
func (n *P2P) peer(id identity.RemoteIdentity) *Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := n.state.peers.peer(id); ok {
		return p
	}
	return n.state.peers.newPeer(id)
}

type peerKey struct{}

// ConnContext returns a context with the peer at the other end of c: a stream,
// or a TLS connection or tunnel within one. Set it as the ConnContext of a
// [net/http.Server], and its handlers get the peer from the request's context
// with [PeerOf].
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	for {
		if s, ok := c.(*Stream); ok {
			return context.WithValue(ctx, peerKey{}, s.peer)
		}
		in, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return ctx
		}
		c = in.NetConn()
	}
}

// PeerOf returns the peer in a context that [ConnContext] returned.
func PeerOf(ctx context.Context) (*Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(*Peer)
	return p, ok
}
