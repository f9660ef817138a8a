package p2p

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

// firstFrameTime is how long a stream may take to name its route.
const firstFrameTime = 5 * time.Second

// An Access rule says which peers may call a route. The zero Access admits nobody.
type Access struct{ allows func(*Peer) bool }

// Anyone admits every peer: whoever can reach the node, not only the user's own devices.
var Anyone = Access{func(*Peer) bool { return true }}

// Only admits the peers for which allow returns true. It is called for each stream, concurrently; a panic means no.
// It should decide by [Peer.Identity]: metadata is what a peer says of itself.
func Only(allow func(*Peer) bool) Access { return Access{allow} }

// admits asks the rule about a peer.
func (a Access) admits(p *Peer) bool {
	if a.allows == nil {
		return false
	}
	allowed := false
	if err := protect(func() error { allowed = a.allows(p); return nil }); err != nil {
		p.node.log.Error("an access rule panicked", "peer", p.id, "err", err)
		return false
	}
	return allowed
}

// A Route is one thing that a node does for others.
type Route struct {
	Name    string // 1 to 255 bytes of UTF-8 without control characters
	Access  Access // who may call it
	Handler Handler

	// MaxStreams limits how many streams of one peer the route serves at a time; the next one is refused with
	// [ErrBusy]. If zero, only the node's limit counts.
	MaxStreams int
}

// A Mux is a [Handler] that dispatches streams by the route that they were opened with ([Peer.Open]). The zero Mux is
// ready to use and serves no route. Its methods may be called concurrently, also while it serves.
type Mux struct {
	// AllowAncestor lets streams of the first protocol version through, which are refused otherwise: their peers
	// know no routes, but what they send might look like one. It is set before the Mux is used.
	AllowAncestor bool

	mu     sync.RWMutex
	routes map[string]*muxRoute
}

type muxRoute struct {
	Route
	mu     sync.Mutex
	active map[identity.RemoteIdentity]int
}

// Handle registers a route. It panics where that is a mistake of the program: no valid name, no handler, or a name that is
// taken.
func (m *Mux) Handle(name string, access Access, h Handler) {
	m.HandleRoute(Route{Name: name, Access: access, Handler: h})
}

// HandleFunc registers a route with a function for its handler; see [Mux.Handle].
func (m *Mux) HandleFunc(name string, access Access, h func(ctx context.Context, s *Stream) error) {
	m.Handle(name, access, HandlerFunc(h))
}

// HandleRoute registers a route; see [Mux.Handle].
func (m *Mux) HandleRoute(r Route) {
	if err := proto.Route(r.Name).Validate(); err != nil {
		panic(fmt.Sprintf("p2p: route %q: %v", r.Name, err))
	}
	if r.Handler == nil {
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
		return fmt.Errorf("%w: %q", ErrNoRoute, name)
	}
	if !r.Access.admits(s.peer) {
		return fmt.Errorf("%w: route %q", ErrRefused, name)
	}
	if !r.enter(s.peer.id) {
		return fmt.Errorf("%w: route %q", ErrBusy, name)
	}
	defer r.leave(s.peer.id)
	s.route = r.Name
	s.served()
	return r.Handler.ServeStream(ctx, s)
}

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
