package session

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/backlog"
)

// Listen registers a route, replacing any handler, and returns a listener of
// its streams, for servers that take one. Each connection is a [*Conn], which
// is being served until the server closes it, its tunnel is gone or the node
// shuts down.
//
// At most 128 streams wait for Accept, and 64 of one member; the next one is
// refused with [p2p.ErrBusy]. Close removes the route: streams that wait or
// come later are refused with [p2p.ErrNoRoute], Accept fails with an error that
// wraps [net.ErrClosed], and accepted connections live on. Nothing else makes
// Accept fail.
//
// Addr returns the zero address, since a Mux may serve several libraries.
func (m *Mux) Listen(route string) net.Listener {
	l := &listener{mux: m, route: route, queue: backlog.New()}
	m.register(route, l.serve, l)
	return l
}

// A listener serves its route.
type listener struct {
	mux   *Mux
	route string
	queue *backlog.Queue
}

// serve queues a stream for Accept, and returns once the stream or its tunnel
// is over.
func (l *listener) serve(ctx context.Context, c *Conn) error {
	switch err := l.queue.Serve(ctx, c.Instance(), c, c.over, ctx.Done()); {
	case errors.Is(err, backlog.ErrFull):
		return fmt.Errorf("%w: %w", p2p.ErrBusy, err)
	case ctx.Err() != nil:
		c.drop()
	case err != nil:
		return fmt.Errorf("%w: %w", p2p.ErrNoRoute, err)
	}
	return nil
}

// Accept returns the next stream of the route.
func (l *listener) Accept() (net.Conn, error) { return l.queue.Accept() }

// Close removes the route.
func (l *listener) Close() error {
	if !l.queue.Close(fmt.Errorf("session: accept streams of %q: %w", l.route, net.ErrClosed)) {
		return fmt.Errorf("session: close the listener of %q: %w", l.route, net.ErrClosed)
	}
	l.mux.remove(l)
	return nil
}

// Addr returns the zero address.
func (l *listener) Addr() net.Addr { return identity.Addr{} }

// DialContext returns a function that opens streams to a route of the session's
// member. It has the signature of dialers in [net/http.Transport] and
// elsewhere, and ignores the network; the address has to be the member's. It
// fails as [Session.Open] does.
func (s *Session) DialContext(route string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		to, err := identity.ParseAddr(addr)
		if err == nil && to != s.member {
			err = fmt.Errorf("the session is with %v", s.member.Host())
		}
		if err != nil {
			return nil, fmt.Errorf("session: dial %q of %q: %w", route, addr, err)
		}
		c, err := s.Open(ctx, route)
		if err != nil {
			return nil, err // not a nil *Conn, which would be a non-nil net.Conn
		}
		return c, nil
	}
}
