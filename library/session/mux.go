package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/libp2p/go-yamux/v5"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// routeTime is how long a member may take to name a route.
const routeTime = 5 * time.Second

// A HandlerFunc serves a stream. When it returns nil, the stream is closed:
// data written still arrives, and unread data is lost. When it returns an
// error, the stream is reset, with the [p2p.ResetCode] that the error wraps or
// [p2p.ErrHandlerFailed]. ctx ends with the tunnel.
type HandlerFunc func(ctx context.Context, c *Conn) error

// A Mux serves the streams of sessions by their routes. The zero value is ready
// to use. Its methods may be called concurrently.
type Mux struct {
	Logger *slog.Logger // for panics of handlers; nil: slog.Default()

	mu        sync.RWMutex // guards what follows
	routes    map[string]HandlerFunc
	listeners map[string]*listener                // of the routes that have one
	members   map[identity.RemoteIdentity]*member // members with a session
}

// memberMemory bounds the windows of all streams of a member, however many
// sessions it opens. It needs only one, and a second one while the first
// retires.
const memberMemory = 2 * maxMemory

// A member has sessions.
type member struct {
	memory
	sessions int
}

// enter adds a session of a member, and returns the member. The session calls
// leave at its end.
func (m *Mux) enter(id identity.RemoteIdentity) (of *member, leave func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.members == nil {
		m.members = map[identity.RemoteIdentity]*member{}
	}
	of = m.members[id]
	if of == nil {
		of = &member{memory: memory{most: memberMemory}}
		m.members[id] = of
	}
	of.sessions++
	return of, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if of.sessions--; of.sessions == 0 {
			delete(m.members, id)
		}
	}
}

// Handle registers the handler of a route, replacing any other; nil removes the
// route.
func (m *Mux) Handle(route string, h HandlerFunc) { m.register(route, h, nil) }

// register is Handle, with the listener that the handler belongs to, if any.
func (m *Mux) register(route string, h HandlerFunc, l *listener) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.routes == nil {
		m.routes, m.listeners = map[string]HandlerFunc{}, map[string]*listener{}
	}
	m.routes[route], m.listeners[route] = h, l
}

// remove removes the route of a listener, if it still has it.
func (m *Mux) remove(l *listener) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listeners[l.route] == l {
		delete(m.routes, l.route)
		delete(m.listeners, l.route)
	}
}

func (m *Mux) handler(route string) HandlerFunc {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.routes[route]
}

// Serve serves a tunnel of the route [Route] until it ends, and returns once
// its handlers have. It serves at most [MaxStreams] streams at a time. A
// session ends if its member has streams in so many sessions that they could
// take 192 MiB. When the node shuts down, the streams end at once.
func (m *Mux) Serve(ctx context.Context, c *tunnel.Conn) error {
	of, leave := m.enter(c.Instance())
	defer leave()
	mux, err := yamux.Server(c, config(), of.span)
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer mux.Close()
	for {
		s, err := mux.AcceptStream()
		if err != nil {
			return nil // the session has ended: each stream has its own error
		}
		serving.Go(func() { m.serve(ctx, newConn(s, c, func() {})) })
	}
}

func (m *Mux) serve(ctx context.Context, c *Conn) {
	code := p2p.ErrHandlerFailed
	defer func() {
		if v := recover(); v != nil {
			log := m.Logger
			if log == nil {
				log = slog.Default()
			}
			log.Error("a handler panicked", "library", c.Library(), "peer", c.Node(), "panic", v, "stack", string(debug.Stack()))
			c.Reset(code)
		}
	}()
	if err := m.handle(ctx, c); err != nil {
		errors.As(err, &code)
		c.Reset(code)
		return
	}
	c.Close()
}

func (m *Mux) handle(ctx context.Context, c *Conn) error {
	c.SetReadDeadline(time.Now().Add(routeTime))
	var name proto.Route
	if err := name.DecodeFrom(proto.NewDecoder(c)); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return p2p.ErrTimeout
		}
		return fmt.Errorf("%w: %w", p2p.ErrNoRoute, err)
	}
	c.SetReadDeadline(time.Time{})
	h := m.handler(string(name))
	if h == nil {
		return p2p.ErrNoRoute
	}
	return h(ctx, c)
}
