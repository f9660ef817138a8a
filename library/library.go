package library

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// Errors that callers can act on.
var (
	// ErrNoMember is returned where an instance is no member of the library.
	ErrNoMember = errors.New("library: no such member")
	// ErrRemoved is returned by the methods of a library that was removed.
	ErrRemoved = errors.New("library: the library was removed")
	// ErrNotRunning is returned where the hook is not registered with a node.
	ErrNotRunning = errors.New("library: the hook does not run")
)

// A HandlerFunc serves a tunnel to a member of the library. When it returns nil, the tunnel is closed; when it returns an
// error or panics, it is reset, with the [p2p.ResetCode] that the error wraps or [p2p.ErrHandlerFailed]. ctx is done when
// the node shuts down.
type HandlerFunc func(ctx context.Context, c *tunnel.Conn) error

// A Library is one that was added to the hook. Its methods may be called concurrently.
type Library struct {
	hook     *Libraries
	id       uuid.UUID
	instance identity.Identity

	mu      sync.Mutex // guards what follows; taken after hook.mu
	removed bool
	record  Record // never modified, only replaced
	members map[[32]byte]Member
	present *tunnel.Credential
	former  []*tunnel.Credential // one for each former secret
	routes  map[string]HandlerFunc
	open    map[*tunnel.Conn]struct{}         // and some that are over
	sweepAt int                               // the size at which open is swept
	failed  map[identity.RemoteIdentity]error // of the last Open, by instance
}

// ID returns the library's UUID.
func (l *Library) ID() uuid.UUID { return l.id }

// Instance returns this node's instance of the library.
func (l *Library) Instance() identity.RemoteIdentity { return l.instance.Remote() }

// Record returns a copy of the library's record as it is now.
func (l *Library) Record() Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record.Clone()
}

// Update replaces the record. Whoever is no longer a member, or lives on another node now, loses its tunnels at once, and counts
// as removed: so does a member that was added after r was read; [Library.AddMember] and [Library.RemoveMember] do not have that
// trap. It fails if the record is not valid or of another library. A secret that does not come after the present one, in the
// order of exchanges, does not replace that; and who was removed stays so unless it is a member now.
func (l *Library) Update(r Record) error {
	return l.change(func(record *Record) error {
		if r.ID != l.id {
			return fmt.Errorf("%w: library %v cannot become %v", ErrInvalid, l.id, r.ID)
		}
		before := *record
		if *record = r.Clone(); record.compareSecret(before.Number, before.Secret) < 0 {
			record.Secret, record.Number, record.Former = before.Secret, before.Number, before.Former
		}
		record.keepRemoved(&before)
		return nil
	})
}

// errUnchanged is what the argument of change returns if there is nothing to change.
var errUnchanged = errors.New("library: nothing changed")

// change replaces the record by what f makes of a copy, draws the consequences, and has the app keep it: a new secret before
// anybody learns of it, everything else afterwards.
func (l *Library) change(f func(*Record) error) error {
	l.hook.keeping.Lock() // so that the app gets the records in their order
	defer l.hook.keeping.Unlock()
	before := l.Record()
	r := before.Clone()
	if err := f(&r); err != nil {
		if errors.Is(err, errUnchanged) {
			return nil
		}
		return err
	}
	keep := l.hook.cfg.Changed
	if keep == nil {
		return l.apply(r)
	}
	first := r.compareSecret(before.Number, before.Secret) != 0
	if first {
		if err := l.check(r); err != nil {
			return err
		}
		tidied := r.Clone()
		tidied.tidy()
		keep(tidied)
	}
	err := l.apply(r)
	if (err == nil) != first { // it failed after all: the app has to keep what there was
		keep(l.Record())
	}
	return err
}

// check says why the record could not be replaced.
func (l *Library) check(r Record) error {
	l.hook.mu.Lock()
	defer l.hook.mu.Unlock()
	if l.hook.libraries[l.id] != l {
		return ErrRemoved
	}
	r = r.Clone()
	if _, err := r.index(l.instance.Remote(), l.hook.self()); err != nil {
		return err
	}
	r.tidy()
	return l.hook.fits(l, r)
}

// apply replaces the record and draws the consequences.
func (l *Library) apply(r Record) error {
	l.hook.mu.Lock()
	defer l.hook.mu.Unlock()
	out, err := l.replace(r)
	for _, c := range out {
		c.Abort(fmt.Errorf("%w: it was removed from the library", tunnel.ErrUnauthorized))
	}
	if err == nil {
		l.hook.track()
		l.hook.changed.tell()
	}
	return err
}

// replace replaces the record, and returns the tunnels that have to end. The caller holds hook.mu.
func (l *Library) replace(r Record) (out []*tunnel.Conn, err error) {
	members, err := r.index(l.instance.Remote(), l.hook.self())
	if err != nil {
		return nil, err
	}
	r.tidy()
	if err := l.hook.fits(l, r); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removed {
		return nil, ErrRemoved
	}
	// Credentials are kept as long as their secrets are: the responder may be about to use them.
	credentials := map[Secret]*tunnel.Credential{}
	if l.present != nil {
		credentials[l.record.Secret] = l.present
	}
	for i, f := range l.record.Former {
		credentials[f.Secret] = l.former[i]
	}
	credential := func(s Secret) *tunnel.Credential {
		if credentials[s] == nil {
			credentials[s] = tunnel.NewCredential(l.id, l.instance, s)
		}
		return credentials[s]
	}
	l.record, l.members = r, members
	l.present, l.former = credential(r.Secret), nil
	for _, f := range r.Former {
		l.former = append(l.former, credential(f.Secret))
	}
	maps.DeleteFunc(l.failed, func(instance identity.RemoteIdentity, _ error) bool {
		_, ok := r.Member(instance)
		return !ok
	})
	for c := range l.open {
		if m, ok := r.Member(c.Instance()); !ok || m.Node != c.Node() {
			out = append(out, c)
		}
	}
	return out, nil
}

// accepts reports whether a member may use a credential of ours. The caller holds mu.
func (l *Library) accepts(instance identity.RemoteIdentity, with *tunnel.Credential) bool {
	if with == l.present {
		return true
	}
	i := slices.Index(l.former, with)
	return i >= 0 && l.record.Former[i].accepts(instance)
}

// Handle registers what serves a route of the library, for its members. It panics where that is a mistake of the program: no
// valid name, one that begins with "sdp2p/", one that is taken, or no handler.
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

// Open opens a tunnel to a member, by its instance, and names a route there. It
// connects if need be. ctx bounds the opening.
//
// It fails with [ErrNoMember]; with a *[p2p.DialError] if the member's node
// cannot be reached; with an error of [tunnel.Open], such as
// [tunnel.ErrHandshake] if the node does not take us for a member. If the member
// does not serve the route, the first read fails with [p2p.ErrNoRoute].
func (l *Library) Open(ctx context.Context, instance identity.RemoteIdentity, route string) (*tunnel.Conn, error) {
	if err := proto.Route(route).Validate(); err != nil {
		return nil, fmt.Errorf("library: route %q: %w", route, err)
	}
	return l.openRoute(ctx, instance, route)
}

func (l *Library) openRoute(ctx context.Context, instance identity.RemoteIdentity, route string) (*tunnel.Conn, error) {
	c, err := l.tunnel(ctx, instance)
	l.mu.Lock()
	_, ok := l.record.Member(instance)
	news := ok && ctx.Err() == nil && !hopeless(err) && (err != nil || l.failed[instance] != nil)
	if news {
		l.failed[instance] = err
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

// hopeless reports whether an Open failed for what Presence tells anyway.
func hopeless(err error) bool {
	for _, reason := range []error{ErrNotRunning, p2p.ErrNoCandidate, p2p.ErrNoListener, p2p.ErrRevoked, p2p.ErrClosed} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// tunnel opens a tunnel. Who may not have the present secret yet is tried with the former ones first.
func (l *Library) tunnel(ctx context.Context, instance identity.RemoteIdentity) (*tunnel.Conn, error) {
	l.mu.Lock()
	m, ok := l.record.Member(instance)
	var with []*tunnel.Credential
	for i := range l.former {
		if l.record.Former[i].accepts(instance) {
			with = append(with, l.former[i])
		}
	}
	with = append(with, l.present)
	removed := l.removed
	l.mu.Unlock()
	switch {
	case removed:
		return nil, ErrRemoved
	case !ok:
		return nil, ErrNoMember
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
		var s *p2p.Stream
		if s, err = peer.Open(ctx, Route); err != nil {
			return nil, err
		}
		var session tunnel.Session
		if session, err = Session(node, s); err != nil {
			s.Reset(p2p.ErrTunnelRefused)
			return nil, err
		}
		var c *tunnel.Conn
		c, err = tunnel.Open(ctx, session, credential, tunnel.Member{Instance: m.Instance, Node: m.Node})
		if err == nil {
			err = l.enter(c, credential)
		}
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil || !errors.Is(err, tunnel.ErrHandshake) {
			break // another secret would not help
		}
	}
	return nil, err
}

// enter books a tunnel that was made with a credential, if the peer is still a member.
func (l *Library) enter(c *tunnel.Conn, with *tunnel.Credential) error {
	l.mu.Lock()
	m, ok := l.record.Member(c.Instance())
	ok = ok && m.Node == c.Node() && !l.removed && c.Credential().Instance() == l.instance.Remote()
	if ok {
		l.sweep()
		l.open[c] = struct{}{}
	}
	updated := ok && with == l.present && l.record.pending(c.Instance())
	l.mu.Unlock()
	if !ok {
		c.Abort(tunnel.ErrUnauthorized)
		return tunnel.ErrUnauthorized
	}
	if updated {
		l.hasSecret(c.Instance())
	}
	return nil
}

// sweep forgets tunnels that are over, now and then. The caller holds mu.
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

// Session returns what a tunnel over a stream of the node runs in. It fails with [tunnel.ErrHandshake] where the stream's
// connection cannot be told from another one, and is not relayed.
func Session(node *p2p.P2P, s *p2p.Stream) (tunnel.Session, error) {
	session := tunnel.Session{
		Stream: s, Local: node.Identity(), Remote: s.RemoteIdentity(),
		Reset: func() { s.Reset(p2p.ErrTunnelRefused) },
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
