// Package session carries many streams with a member of a library in one
// tunnel.
//
// A tunnel of its own suits a long or large exchange, such as a file or a call.
// For small requests the handshake costs more than everything else: a request
// in a tunnel of its own takes ten times the CPU of one in a session, and two
// round trips instead of one. In a session, however, a lost packet holds up all
// streams, not only one.
//
// One side registers the routes that it serves:
//
//	var routes session.Mux
//	routes.Handle("thumbnail", serveThumbnail)
//	lib.Handle(session.Route, routes.Serve)
//
// and the other opens streams, the first of which opens the tunnel:
//
//	s := session.New(lib, member.Instance)
//	defer s.Close()
//	c, err := s.Open(ctx, "thumbnail")
//
// [Mux.Listen] and [Session.DialContext] serve existing servers and clients,
// such as those of net/http.
//
// The streams are yamux streams, as specified by libp2p.
package session

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// Route is the library's route that a [Mux] serves.
const Route = "session"

const (
	// MaxStreams is the number of streams that each side may have open in a
	// session. Further ones wait.
	MaxStreams = 256
	// IdleTime is how long a session without streams keeps its tunnel.
	IdleTime = time.Minute
)

// errClosed is returned by a session that the app has closed.
var errClosed = fmt.Errorf("session: %w", net.ErrClosed)

// A Session opens streams with one member. It keeps one tunnel, which the first
// stream opens, and opens another one if that is lost. Its methods may be
// called concurrently.
type Session struct {
	member identity.RemoteIdentity
	open   func(ctx context.Context) (*tunnel.Conn, error)

	opening chan struct{} // holds a value while a tunnel is opened
	mu      sync.Mutex    // guards what follows
	carrier *carrier      // nil: there is none
	closed  bool
}

// New returns a session with a member, without opening a tunnel yet.
func New(l *library.Library, member identity.RemoteIdentity) *Session {
	return &Session{
		member:  member,
		open:    func(ctx context.Context) (*tunnel.Conn, error) { return l.Open(ctx, member, Route) },
		opening: make(chan struct{}, 1),
	}
}

// Open opens a stream to a route of the member's [Mux]. ctx applies to the
// opening only. While [MaxStreams] are open, it waits. If the member does not
// serve the route, the first read fails with [p2p.ErrNoRoute]. If there is no
// tunnel and none can be opened, the error is that of [library.Library.Open].
func (s *Session) Open(ctx context.Context, route string) (*Conn, error) {
	header, err := proto.Route(route).AppendBinary(nil)
	if err != nil {
		return nil, fmt.Errorf("session: route %q: %w", route, err)
	}
	for {
		k, fresh, err := s.carry(ctx)
		if err != nil {
			return nil, err
		}
		c, err := k.stream(ctx)
		if err == nil {
			if _, err = c.Write(header); err == nil {
				return c, nil
			}
			c.Close()
		}
		if fresh || ctx.Err() != nil {
			return nil, fmt.Errorf("session: open %q: %w", route, err)
		}
		s.drop(k) // it was lost, which goes unnoticed until now
	}
}

// carry returns the carrier for the next stream, and whether it was just
// opened.
func (s *Session) carry(ctx context.Context) (k *carrier, fresh bool, err error) {
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	if k, err := s.present(); k != nil || err != nil {
		return k, false, err
	}
	c, err := s.open(ctx)
	if err != nil {
		return nil, false, err
	}
	if k, err = newCarrier(c); err != nil {
		c.Close()
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		k.end()
		return nil, false, errClosed
	}
	s.carrier = k
	return k, true, nil
}

// present returns the carrier, if it can carry another stream.
func (s *Session) present() (*carrier, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.carrier != nil && s.carrier.retire() {
		s.carrier = nil
	}
	return s.carrier, nil
}

// drop forgets a carrier that is lost.
func (s *Session) drop(k *carrier) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.carrier == k {
		s.carrier = nil
	}
	k.end()
}

// Close ends the session and its streams.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.carrier != nil {
		s.carrier.end()
		s.carrier = nil
	}
	return nil
}
