package p2p

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

const (
	firstFrameTime = 5 * time.Second // the most that a stream may take to name its route
	maxNamed       = 16              // the most routes that an error names
)

// An Access rule says which peers may call a route. The zero Access admits
// nobody.
type Access struct{ allows func(*Peer) bool }

// Anyone admits every peer that can reach the node, not only the user's own
// devices.
var Anyone = Access{func(*Peer) bool { return true }}

// Only admits the peers for which allow returns true. allow is called for each
// stream, concurrently; a panic counts as a refusal. It should decide by
// [Peer.Identity]: metadata is a peer's own claim.
func Only(allow func(*Peer) bool) Access { return Access{allow} }

// admits asks the rule about a peer.
func (a Access) admits(p *Peer) bool {
	if a.allows == nil {
		return false
	}
	allowed := false
	if err := protect(func() error { allowed = a.allows(p); return nil }); err != nil {
		p.node.log.Error("an access rule panicked", "peer", p.id, "cause", err)
		return false
	}
	return allowed
}

// A Route is one service of a node.
type Route struct {
	Name    string // 1 to 255 bytes of UTF-8 without control characters
	Access  Access // who may call it
	Handler Handler

	// MaxStreams limits how many streams of one peer the route serves at a
	// time; the next one is refused with [ErrBusy]. If zero, only the
	// node's limits apply.
	MaxStreams int
}

// A Mux is a [Handler] that dispatches streams by the route that they were
// opened with ([Peer.Open]). The zero value is ready to use and has no routes.
// Its methods may be called concurrently, also while it serves streams.
type Mux struct {
	// AllowAncestor admits streams of protocol version 1, and must be set
	// before the Mux is used. By default they are refused: version 1 has no
	// routes, but a stream's first bytes might look like one.
	AllowAncestor bool

	mu     sync.RWMutex
	routes map[string]*muxRoute
	nodes  []identity.RemoteIdentity // that have it as their handler, in the order in which they were made
}

type muxRoute struct {
	Route
	mu     sync.Mutex
	active map[identity.RemoteIdentity]int
}

// Handle registers a route. It panics if the name is invalid or taken, or the
// handler is nil.
func (m *Mux) Handle(name string, access Access, h Handler) {
	m.HandleRoute(Route{Name: name, Access: access, Handler: h})
}

// HandleFunc registers a route with a function as its handler; see
// [Mux.Handle].
func (m *Mux) HandleFunc(name string, access Access, h func(ctx context.Context, s *Stream) error) {
	m.Handle(name, access, HandlerFunc(h))
}

// HandleRoute registers a route; see [Mux.Handle].
func (m *Mux) HandleRoute(r Route) {
	if err := proto.Route(r.Name).Validate(); err != nil {
		panic(fmt.Sprintf("p2p: route %q: %v", r.Name, err))
	}
	if f, ok := r.Handler.(HandlerFunc); r.Handler == nil || ok && f == nil {
		panic(fmt.Sprintf("p2p: route %q has no handler", r.Name))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.routes[r.Name] != nil {
		panic(fmt.Sprintf("p2p: route %q is registered twice", r.Name))
	}
	if m.routes == nil {
		m.routes = map[string]*muxRoute{}
	}
	m.routes[r.Name] = &muxRoute{Route: r, active: map[identity.RemoteIdentity]int{}}
}

// Serves reports whether a route is registered.
func (m *Mux) Serves(route string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.routes[route] != nil
}

// ServeStream reads the route's name and calls its handler.
func (m *Mux) ServeStream(ctx context.Context, s *Stream) error {
	if s.Version() < 2 && !m.AllowAncestor {
		return fmt.Errorf("%w: a stream of protocol version %d", ErrRefused, s.Version())
	}
	s.SetReadDeadline(time.Now().Add(firstFrameTime))
	var name proto.Route
	if err := name.DecodeFrom(proto.NewDecoder(s)); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ErrTimeout
		}
		if ctx.Err() != nil {
			return ErrShuttingDown
		}
		return fmt.Errorf("%w: %w", ErrNoRoute, err)
	}
	s.SetReadDeadline(time.Time{})

	m.mu.RLock()
	r := m.routes[string(name)]
	m.mu.RUnlock()
	if r == nil {
		return &noRouteError{string(name), m}
	}
	s.route.Store(&r.Name)
	if !r.Access.admits(s.peer) {
		return fmt.Errorf("%w: route %q", ErrRefused, r.Name)
	}
	if !r.enter(s.peer.id) {
		return fmt.Errorf("%w: route %q", ErrBusy, r.Name)
	}
	defer r.leave(s.peer.id)
	return r.Handler.ServeStream(s.served(ctx), s)
}

// A noRouteError names the routes that are served instead.
type noRouteError struct {
	name string
	mux  *Mux
}

func (e *noRouteError) Error() string {
	e.mux.mu.RLock()
	names := slices.Sorted(maps.Keys(e.mux.routes))
	e.mux.mu.RUnlock()
	known := fmt.Sprintf("the routes are %.64q", names[:min(len(names), maxNamed)])
	if more := len(names) - maxNamed; more > 0 {
		known += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("%v: %.64q; %s", ErrNoRoute, e.name, known)
}

// Unwrap returns [ErrNoRoute].
func (e *noRouteError) Unwrap() error { return ErrNoRoute }

func (r *muxRoute) enter(id identity.RemoteIdentity) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.MaxStreams > 0 && r.active[id] >= r.MaxStreams {
		return false
	}
	r.active[id]++
	return true
}

func (r *muxRoute) leave(id identity.RemoteIdentity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active[id]--; r.active[id] == 0 {
		delete(r.active, id)
	}
}

// A routeListener is the handler of a route that ends with the last node of its
// Mux: see [Mux.Listen].
type routeListener interface{ close(reason error) bool }

// remove frees a route.
func (m *Mux) remove(route string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.routes, route)
}

// attach records a node that has m as its handler.
func (m *Mux) attach(node identity.RemoteIdentity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes = append(m.nodes, node)
}

// detach removes a node that shuts down. The listeners end with the last node.
func (m *Mux) detach(node identity.RemoteIdentity) {
	var over []routeListener
	m.mu.Lock()
	if i := slices.Index(m.nodes, node); i >= 0 {
		m.nodes = slices.Delete(m.nodes, i, i+1)
	}
	if len(m.nodes) == 0 {
		for _, r := range m.routes {
			if l, ok := r.Handler.(routeListener); ok {
				over = append(over, l)
			}
		}
	}
	m.mu.Unlock()
	for _, l := range over {
		l.close(errNodeClosed)
	}
}

// errNodeClosed is the reason of a listener that ended with its node.
var errNodeClosed = fmt.Errorf("%w (%w)", ErrClosed, net.ErrClosed)
