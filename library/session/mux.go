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

// A HandlerFunc serves a stream. When it returns nil, what it wrote arrives,
// and what it did not read is lost; with an error the stream is reset, with
// [p2p.ErrHandlerFailed] or the [p2p.ResetCode] that the error wraps. ctx ends
// with the tunnel.
type HandlerFunc func(ctx context.Context, c *Conn) error

// A Mux serves the streams of sessions by their routes. Its zero value has
// none. It may be used by several goroutines.
type Mux struct {
	Logger *slog.Logger // for panics of handlers; nil: slog.Default()

	mu      sync.RWMutex // guards what follows
	routes  map[string]HandlerFunc
	members map[identity.RemoteIdentity]*member // those with a session
}

// memberMemory bounds the windows of all streams of a member, however many
// sessions it opens: one is enough for it, and a second one while the first one
// retires.
const memberMemory = 2 * maxMemory

// A member has sessions.
type member struct {
	memory
	sessions int
}

// enter returns what bounds a session of a member, which leaves at its end.
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

// Handle registers the handler of a route, instead of the one before; nil
// removes it.
func (m *Mux) Handle(route string, h HandlerFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.routes == nil {
		m.routes = map[string]HandlerFunc{}
	}
	m.routes[route] = h
}

func (m *Mux) handler(route string) HandlerFunc {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.routes[route]
}

// Serve serves a tunnel of the route [Route] until it ends, and returns when
// the handlers have. At most [MaxStreams] are served at a time. A session ends
// if its member has streams in so many sessions that they could take 192 MiB.
// Where the node shuts down, the streams end at once.
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
			return nil // it has ended: each stream knows how
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
