package library

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/internal/cause"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// Errors that callers can act on.
var (
	// ErrNoMember is returned if an instance is not a member of the library.
	ErrNoMember = cause.New("no such member", "library: no such member")
	// ErrNotMember is returned if this device is no longer a member: it was
	// removed, or has left.
	ErrNotMember = cause.New("not a member", "library: this device is no longer a member of the library")
	// ErrNotAdmin is returned if something takes an admin and this device is
	// none.
	ErrNotAdmin = errors.New("library: only an admin of the library can do that")
	// ErrAsked is returned if a second admin has to agree. The others are asked
	// as they become available, and the change counts once one of them has
	// agreed.
	ErrAsked = errors.New("library: a second admin has to agree, and is asked to")
	// ErrRemoved is returned by the methods of a library that was removed from
	// this device.
	ErrRemoved = errors.New("library: the library was removed")
	// ErrNotRunning is returned if the hook is not registered with a node.
	ErrNotRunning = errors.New("library: the hook is not running")
)

// A HandlerFunc serves a tunnel to a member of the library. When it returns
// nil, the tunnel is closed; when it returns an error or panics, the tunnel is
// reset, with the [p2p.ResetCode] that the error wraps or
// [p2p.ErrHandlerFailed]. ctx is done when the node shuts down.
type HandlerFunc func(ctx context.Context, c *tunnel.Conn) error

// A Library is a library that was added to the hook. Its methods may be called
// concurrently.
type Library struct {
	hook     *Libraries
	id       uuid.UUID
	instance identity.Identity

	mu        sync.Mutex // guards what follows; taken after hook.mu
	removed   bool
	now       *content // never modified, only replaced
	routes    map[string]HandlerFunc
	listeners []*listener               // each has a route
	open      map[*tunnel.Conn]struct{} // and some that are over
	sweepAt   int                       // the size at which open is swept
	members   map[identity.RemoteIdentity]*dealings
	requests  map[identity.RemoteIdentity]roster.Statement // by the device that asks
	declined  map[identity.RemoteIdentity]bool             // devices that have left, and whose request this device has declined
}

// Dealings are the state of this device's contact with a member since the
// start.
type dealings struct {
	failed error       // of the last Open
	secret Secret      // of its last tunnel
	synced roster.Hash // the digest of our statements that it knows; zero: none
	cut    roster.Hash // the digest of those it knew when it was last sent a part
	asked  roster.Hash // the draft that it was asked to agree to
	taking int         // exchanges in progress, each of which also tells the member
	heard  hearing
}

// ID returns the library's UUID.
func (l *Library) ID() uuid.UUID { return l.id }

// Instance returns this node's instance of the library.
func (l *Library) Instance() identity.RemoteIdentity { return l.instance.Remote() }

// Record returns a copy of the library's record as it is now.
func (l *Library) Record() Record { return l.content().record.Clone() }

// Roster returns the present view of the library's statements. It must not be
// modified.
func (l *Library) Roster() *roster.View { return l.content().view }

// Role returns the role of this device, or zero if it is not a member.
func (l *Library) Role() Role {
	m, _ := l.Roster().Member(l.Instance())
	return m.Role
}

func (l *Library) content() *content {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// with returns the dealings with a member. The caller holds mu.
func (l *Library) with(instance identity.RemoteIdentity) *dealings {
	d := l.members[instance]
	if d == nil {
		d = &dealings{}
		l.members[instance] = d
	}
	return d
}

// Handle registers a handler for a route of the library, for its members. It
// panics if the name is not valid, begins with "sdp2p/" or is taken, or if the
// handler is nil.
func (l *Library) Handle(route string, h HandlerFunc) {
	if err := proto.Route(route).Validate(); err != nil || h == nil || len(route) >= len(reserved) && route[:len(reserved)] == reserved {
		panic(fmt.Sprintf("library: route %q cannot be registered", route))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.routes[route] != nil {
		panic(fmt.Sprintf("library: route %q is registered twice", route))
	}
	l.routes[route] = h
}

// Open opens a tunnel to a route of a member, named by its instance. It
// connects to the member's node if necessary. ctx applies to the opening only.
//
// It fails with [ErrNoMember]; with a *[p2p.DialError] if the member's node
// cannot be reached; with an error of [tunnel.Open], such as
// [tunnel.ErrHandshake] if the node does not consider us a member. If the
// member does not serve the route, the first read fails with [p2p.ErrNoRoute].
func (l *Library) Open(ctx context.Context, instance identity.RemoteIdentity, route string) (*tunnel.Conn, error) {
	if err := proto.Route(route).Validate(); err != nil {
		return nil, fmt.Errorf("library: route %q: %w", route, err)
	}
	return l.openRoute(ctx, instance, route)
}

func (l *Library) openRoute(ctx context.Context, instance identity.RemoteIdentity, route string) (*tunnel.Conn, error) {
	c, err := l.tunnel(ctx, instance, route)
	l.mu.Lock()
	news := l.now.members[instance] != nil && ctx.Err() == nil && !hopeless(err) && (err != nil || l.with(instance).failed != nil)
	if news {
		l.with(instance).failed = err
	}
	l.mu.Unlock()
	if news {
		l.hook.changed.tell()
	}
	if err != nil {
		return nil, fmt.Errorf("library: open %q of %v: %w", route, instance, err)
	}
	header, err := proto.Route(route).AppendBinary(nil)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { c.Abort(context.Cause(ctx)) })
		if _, err = c.Write(header); !stop() {
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		c.Abort(err)
		return nil, fmt.Errorf("library: open %q of %v: %w", route, instance, err)
	}
	return c, nil
}

// hopeless reports whether an Open failed for a reason that Presence shows
// anyway.
func hopeless(err error) bool {
	for _, reason := range []error{ErrNotRunning, ErrNotMember, p2p.ErrNoCandidate, p2p.ErrNoListener, p2p.ErrRevoked, p2p.ErrClosed} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// tunnel opens a tunnel. With a member that may not have the present secret
// yet, it tries the one that the member had last, and then the others.
func (l *Library) tunnel(ctx context.Context, instance identity.RemoteIdentity, route string) (*tunnel.Conn, error) {
	l.mu.Lock()
	removed, now := l.removed, l.now
	var last Secret
	if d := l.members[instance]; d != nil {
		last = d.secret
	}
	with := now.credentials(last)
	l.mu.Unlock()
	m := now.members[instance]
	switch {
	case removed:
		return nil, ErrRemoved
	case m == nil || m.out && route != rosterRoute:
		return nil, l.hook.noTunnel(m, ErrNoMember)
	case now.out && route != rosterRoute:
		return nil, l.hook.noTunnel(m, ErrNotMember)
	}
	node := l.hook.running()
	if node == nil {
		return nil, ErrNotRunning
	}
	peer := l.hook.peer(m.Node)
	if peer == nil {
		return nil, ErrNotRunning
	}
	var err error
	for _, credential := range with {
		var c *tunnel.Conn
		if c, err = l.attempt(ctx, node, peer, credential, m.Member); err == nil {
			return c, nil
		}
		if ctx.Err() != nil || !errors.Is(err, tunnel.ErrHandshake) {
			break // another secret would not help
		}
	}
	return nil, err
}

// attempt opens a tunnel with one secret. It retries while the member is busy
// until ctx is done; then the error wraps [tunnel.ErrBusy].
func (l *Library) attempt(ctx context.Context, node *p2p.P2P, peer *p2p.Peer, with *tunnel.Credential, m Member) (*tunnel.Conn, error) {
	again := backoff.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}
	for {
		s, err := peer.Open(ctx, Route)
		if err != nil {
			return nil, err
		}
		session, err := Session(node, s)
		if err != nil {
			s.Reset(p2p.ErrTunnelRefused)
			return nil, err
		}
		c, err := tunnel.Open(ctx, session, with, tunnel.Member{Instance: m.Instance, Node: m.Node})
		if err == nil {
			_, err = l.enter(c)
			return c, err
		}
		l.hook.count("tunnels_failed", tunnelCause(err))
		if !errors.Is(err, p2p.ErrBusy) {
			return nil, err
		}
		select {
		case <-time.After(again.Next()):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", tunnel.ErrBusy, err)
		}
	}
}

// enter registers a tunnel, if the peer is still a member, which full tells, or
// may at least exchange statements.
func (l *Library) enter(c *tunnel.Conn) (full bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.now.members[c.Instance()]
	secret, ok := l.now.secretOf(c.Credential())
	if l.removed || m == nil || m.Node != c.Node() || !ok || c.Credential().Instance() != l.instance.Remote() {
		c.Abort(tunnel.ErrUnauthorized)
		return false, tunnel.ErrUnauthorized
	}
	l.sweep()
	l.open[c] = struct{}{}
	if d := l.with(c.Instance()); d.secret != secret {
		d.secret = secret
		l.hook.changed.tell()
	}
	return !m.out && !l.now.out, nil
}

// sweep forgets tunnels that are over, if open has grown enough. The caller
// holds mu.
func (l *Library) sweep() {
	if len(l.open) < l.sweepAt {
		return
	}
	maps.DeleteFunc(l.open, func(c *tunnel.Conn, _ struct{}) bool {
		select {
		case <-c.Done():
			return true
		default:
			return false
		}
	})
	l.sweepAt = 2*len(l.open) + 16
}

// Session returns the session for a tunnel in a stream of the node. It fails
// with [tunnel.ErrHandshake] if the stream's connection has no TLS exporter and
// is not relayed.
func Session(node *p2p.P2P, s *p2p.Stream) (tunnel.Session, error) {
	session := tunnel.Session{
		Stream: s, Local: node.Identity(), Remote: s.RemoteIdentity(),
		Reset: func() { s.Reset(p2p.ErrTunnelRefused) }, Busy: func() { s.Reset(p2p.ErrBusy) },
	}
	_, remote := s.Endpoints()
	if addr, err := netip.ParseAddrPort(remote.String()); err == nil {
		session.Addr = addr.Addr()
	}
	if s.Path().Kind == p2p.Relay {
		return session, nil
	}
	var ok bool
	if session.Binding, ok = s.Exporter(tunnel.ExporterLabel); !ok {
		return session, fmt.Errorf("%w: the connection has no TLS exporter", tunnel.ErrHandshake)
	}
	return session, nil
}
