package library

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// routeTime is how long a member may take to name a route.
const routeTime = 5 * time.Second

// ServeStream serves a stream of the route [Route]: it waits for a tunnel and,
// inside it, for a library's route, whose handler it calls.
func (h *Libraries) ServeStream(ctx context.Context, s *p2p.Stream) error {
	node := h.running()
	if node == nil {
		return fmt.Errorf("%w: %w", p2p.ErrShuttingDown, ErrNotRunning)
	}
	session, err := Session(node, s)
	if err != nil {
		return fmt.Errorf("%w: %w", p2p.ErrTunnelRefused, err)
	}
	c, err := h.responder.Accept(ctx, session)
	if err != nil {
		h.count("tunnels_refused", tunnelCause(err))
		return fmt.Errorf("%w: %w", p2p.ErrTunnelRefused, err)
	}
	h.count("tunnels_accepted", "ok")
	err = errPanicked
	defer func() {
		if err != nil {
			code := p2p.ErrHandlerFailed
			errors.As(err, &code)
			s.Reset(code)
			c.Abort(err)
		}
	}()
	if err = h.serve(ctx, c); err == nil {
		c.Close()
		<-c.Done()
	}
	return err
}

var errPanicked = errors.New("library: the handler panicked")

func (h *Libraries) serve(ctx context.Context, c *tunnel.Conn) error {
	l, ok := h.Get(c.Library())
	if !ok {
		return p2p.ErrTunnelRefused
	}
	full, err := l.enter(c)
	if err != nil {
		return fmt.Errorf("%w: %w", p2p.ErrTunnelRefused, err)
	}
	c.SetReadDeadline(time.Now().Add(routeTime))
	var name proto.Route
	if err := name.DecodeFrom(proto.NewDecoder(c)); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return p2p.ErrTimeout
		}
		return fmt.Errorf("%w: %w", p2p.ErrNoRoute, err)
	}
	c.SetReadDeadline(time.Time{})
	serve := l.ours(string(name), full)
	if serve == nil && !full {
		if full = l.joined(ctx, c); full {
			serve = l.ours(string(name), full)
		}
	}
	if serve == nil && full {
		l.mu.Lock()
		serve = l.routes[string(name)]
		l.mu.Unlock()
	}
	if serve == nil {
		return fmt.Errorf("%w: %q of library %v", p2p.ErrNoRoute, name, l.id)
	}
	return serve(ctx, c)
}

// joined reports whether this device and the other end of a tunnel are members.
// While this device is joining, the admin that has added it knows that first
// and may call before this device does: then joined waits for that.
func (l *Library) joined(ctx context.Context, c *tunnel.Conn) bool {
	late := time.NewTimer(routeTime)
	defer late.Stop()
	for {
		changed := l.hook.changed.next()
		now := l.content()
		m := now.members[c.Instance()]
		if m == nil || m.out || !now.out || now.roster.Last(l.Instance()).Counter > 0 {
			return m != nil && !m.out && !now.out
		}
		select {
		case <-changed:
		case <-c.Done():
			return false
		case <-ctx.Done():
			return false
		case <-late.C:
			return false
		}
	}
}

// directory tells the responder whom to accept.
type directory Libraries

// Credentials returns the instances of all libraries, with the present and the
// former secrets.
func (d *directory) Credentials() []*tunnel.Credential {
	var all []*tunnel.Credential
	for _, l := range (*Libraries)(d).All() {
		now := l.content()
		all = append(append(all, now.present), now.former...)
	}
	return all
}

// Member looks up a member by its key.
func (d *directory) Member(with *tunnel.Credential, key [32]byte) (tunnel.Member, bool) {
	l, ok := (*Libraries)(d).Get(with.Library())
	if !ok {
		return tunnel.Member{}, false
	}
	now := l.content()
	m := now.byKey[key]
	if _, accepted := now.secretOf(with); m == nil || !accepted {
		return tunnel.Member{}, false
	}
	return tunnel.Member{Instance: m.Instance, Node: m.Node}, true
}

// Knows reports whether a node is on record for a member of any library.
func (d *directory) Knows(node identity.RemoteIdentity) bool {
	return (*Libraries)(d).peer(node) != nil
}

// Allow asks the node.
func (d *directory) Allow(ctx context.Context, library uuid.UUID, m tunnel.Member) bool {
	node := (*Libraries)(d).running()
	return node != nil && node.Allows(ctx, p2p.Request{Action: p2p.OpenTunnel, Peer: m.Node, Library: library, Instance: m.Instance}) == nil
}
