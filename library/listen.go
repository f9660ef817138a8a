package library

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/backlog"
	"github.com/sdp2p/p2p/tunnel"
)

// Listen registers a route for the library's members and returns a listener of
// its tunnels, for servers that take one. Each connection is a [*tunnel.Conn],
// which is being served until the server closes it. Listen panics as
// [Library.Handle] does.
//
// At most 128 tunnels wait for Accept, and 64 of one member; the next one is
// refused with [p2p.ErrBusy].
//
// Close frees the route: tunnels that wait or come later are refused with
// [p2p.ErrNoRoute], Accept fails with an error that wraps [net.ErrClosed], and
// accepted connections live on. The listener ends in the same way when the
// library is removed from this device, or the node shuts down. Shut down a
// server before its node: the node's shutdown makes reads from its connections
// fail, and waits until they are closed.
//
// Addr is the address of this device's instance.
func (l *Library) Listen(route string) net.Listener {
	in := &listener{library: l, route: route, queue: backlog.New()}
	l.Handle(route, in.serve)
	l.mu.Lock()
	l.listeners = append(l.listeners, in)
	removed := l.removed
	l.mu.Unlock()
	if removed {
		l.endListeners(ErrRemoved)
	}
	return in
}

// endListeners closes the library's listeners with an error.
func (l *Library) endListeners(reason error) {
	l.mu.Lock()
	all := slices.Clone(l.listeners)
	l.mu.Unlock()
	for _, in := range all {
		in.close(fmt.Errorf("%w (%w)", reason, net.ErrClosed))
	}
}

// A listener serves its route.
type listener struct {
	library *Library
	route   string
	queue   *backlog.Queue
}

// serve queues a tunnel for Accept, and returns once the tunnel is over. If the
// node resets the stream under it, the tunnel ends, too.
func (l *listener) serve(ctx context.Context, c *tunnel.Conn) error {
	s, ok := c.NetConn().(*p2p.Stream)
	if !ok {
		return p2p.ErrTunnelRefused
	}
	switch err := l.queue.Serve(ctx, c.Instance(), c, c.Done(), s.Done()); {
	case err == nil:
	case errors.Is(err, backlog.ErrFull):
		return fmt.Errorf("%w: %w", p2p.ErrBusy, err)
	case ctx.Err() != nil, errors.Is(err, p2p.ErrClosed):
		return p2p.ErrShuttingDown
	default:
		return fmt.Errorf("%w: %w", p2p.ErrNoRoute, err)
	}
	if err := s.Err(); err != nil && err != net.ErrClosed { // net.ErrClosed: the tunnel has closed it
		c.Abort(err)
	}
	<-c.Done()
	return nil
}

// Accept returns the next tunnel of the route.
func (l *listener) Accept() (net.Conn, error) { return l.queue.Accept() }

// Close frees the route.
func (l *listener) Close() error {
	if !l.close(net.ErrClosed) {
		return fmt.Errorf("library: close the listener of %q: %w", l.route, net.ErrClosed)
	}
	return nil
}

// close closes the listener with an error, and reports whether it was open.
func (l *listener) close(reason error) bool {
	closed := l.queue.Close(fmt.Errorf("library: accept tunnels of %q: %w", l.route, reason))
	if closed {
		l.library.mu.Lock()
		defer l.library.mu.Unlock()
		delete(l.library.routes, l.route)
		l.library.listeners = slices.DeleteFunc(l.library.listeners, func(in *listener) bool { return in == l })
	}
	return closed
}

// Addr returns the address of this device's instance.
func (l *listener) Addr() net.Addr { return l.library.Instance().Addr() }

// DialContext returns a function that opens tunnels to a route, by the address
// of a member's instance: its host name ([identity.RemoteIdentity.Host]), with
// any port or none. It has the signature of dialers in [net/http.Transport] and
// elsewhere, and ignores the network. It fails as [Library.Open] does, and with
// [identity.ErrInvalid] if the address is not valid.
//
// Close pools of idle connections ([net/http.Client.CloseIdleConnections])
// before the node shuts down, which waits for connections to be closed.
func (l *Library) DialContext(route string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		instance, err := identity.ParseAddr(addr)
		if err != nil {
			return nil, fmt.Errorf("library: dial %q of %q: %w", route, addr, err)
		}
		c, err := l.Open(ctx, instance, route)
		if err != nil {
			return nil, err // not a nil *tunnel.Conn, which would be a non-nil net.Conn
		}
		return c, nil
	}
}

type memberKey struct{}

// ConnContext returns a context with the member at the other end of a tunnel,
// or of a connection inside one, and with its node for [p2p.PeerOf]. Use it as
// the ConnContext of a [net/http.Server], whose handlers can then call
// [MemberOf] with the request's context.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	ctx = p2p.ConnContext(ctx, c)
	for {
		if t, ok := c.(*tunnel.Conn); ok {
			return context.WithValue(ctx, memberKey{}, tunnel.Member{Instance: t.Instance(), Node: t.Node()})
		}
		in, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return ctx
		}
		c = in.NetConn()
	}
}

// MemberOf returns the member in a context of [ConnContext]: its instance, and
// the node that it lives on.
func MemberOf(ctx context.Context) (tunnel.Member, bool) {
	m, ok := ctx.Value(memberKey{}).(tunnel.Member)
	return m, ok
}
