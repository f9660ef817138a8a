package tunnel

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// A directory is a directory that tests can change.
type directory struct {
	strangers   bool // it does not know their nodes
	mu          sync.Mutex
	credentials []*Credential
	members     map[uuid.UUID]map[[32]byte]Member
	gone        map[identity.RemoteIdentity]bool         // instances that are no longer members
	allow       func(ctx context.Context, m Member) bool // if nil, everything is allowed
	lookup      func()                                   // called by Member; may be nil
}

func (d *directory) add(t testing.TB, library uuid.UUID, m Member) {
	p, err := m.Instance.X25519()
	require.NoError(t, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.members == nil {
		d.members = map[uuid.UUID]map[[32]byte]Member{}
	}
	if d.members[library] == nil {
		d.members[library] = map[[32]byte]Member{}
	}
	d.members[library][[32]byte(p.Bytes())] = m
}

func (d *directory) remove(instance identity.RemoteIdentity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone == nil {
		d.gone = map[identity.RemoteIdentity]bool{}
	}
	d.gone[instance] = true
}

func (d *directory) Credentials() []*Credential {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.credentials
}

func (d *directory) Member(with *Credential, key [32]byte) (Member, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lookup != nil {
		d.lookup()
	}
	m, ok := d.members[with.Library()][key]
	return m, ok && !d.gone[m.Instance] // the result must not be used without ok
}

func (d *directory) Knows(node identity.RemoteIdentity) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.strangers {
		return false
	}
	for _, members := range d.members {
		for _, m := range members {
			if m.Node == node && !d.gone[m.Instance] {
				return true
			}
		}
	}
	return false
}

func (d *directory) Allow(ctx context.Context, _ uuid.UUID, m Member) bool {
	d.mu.Lock()
	allow := d.allow
	d.mu.Unlock()
	return allow == nil || allow(ctx, m)
}

// seedOf derives a seed from a name.
func seedOf(name string) []byte {
	s := sha256.Sum256([]byte(name))
	return s[:]
}

// named returns the identity of a name: tests need no random keys.
func named(t testing.TB, name string) identity.Identity { return key(t, seedOf(name)) }

// plenty are limits that a test does not reach.
var plenty = Limits{PeerInFlight: 1000, PeerPerSecond: 1 << 20, InFlight: 10000, PerSecond: 1 << 20}

// A world is a library with an instance on each of two nodes, and the
// responder's directory. Each bubble needs its own, since each has its own
// time.
type world struct {
	iNode, rNode         identity.Identity
	iInstance, rInstance identity.Identity
	library              uuid.UUID
	secret               [32]byte
	binding              [32]byte
	dir                  *directory
	responder            *Responder
}

func newWorld(t testing.TB) *world {
	w := &world{
		iNode: named(t, "initiator's node"), iInstance: named(t, "initiator's instance"),
		rNode: named(t, "responder's node"), rInstance: named(t, "responder's instance"),
		library: uuid.UUID{'l', 'i', 'b'}, secret: [32]byte(seedOf("secret")), binding: [32]byte(seedOf("exporter")),
	}
	w.dir = &directory{credentials: []*Credential{w.credential(w.rInstance)}}
	w.dir.add(t, w.library, Member{w.iInstance.Remote(), w.iNode.Remote()})
	w.responder = NewResponder(w.dir, plenty)
	return w
}

func (w *world) credential(instance identity.Identity) *Credential {
	return NewCredential(w.library, instance, w.secret)
}

// to returns the responder, as the initiator knows it.
func (w *world) to() Member { return Member{w.rInstance.Remote(), w.rNode.Remote()} }

// session returns the initiator's end of a session, accepting the responder's.
func (w *world) session(c net.Conn) Session {
	return Session{Stream: c, Local: w.iNode.Remote(), Remote: w.rNode.Remote(), Binding: w.binding, Reset: resetOf(c)}
}

func (w *world) accepting(c net.Conn) Session {
	return Session{Stream: c, Local: w.rNode.Remote(), Remote: w.iNode.Remote(), Binding: w.binding, Reset: resetOf(c)}
}

// resetOf returns the function that resets a stream, or nil if it can only be
// closed.
func resetOf(c net.Conn) func() {
	if r, ok := c.(interface{ Reset() }); ok {
		return r.Reset
	}
	return nil
}

func (w *world) initiate(t testing.TB, c net.Conn) (*Conn, error) {
	return Open(t.Context(), w.session(c), w.credential(w.iInstance), w.to())
}

// open opens a tunnel over a stream.
func (w *world) open(t testing.TB, a, b net.Conn) (i, r *Conn) {
	i, r, err := w.tryOpen(t, a, b)
	require.NoError(t, err)
	return i, r
}

// openInRealTime opens a tunnel over one of several streams. In real time, a
// responder refuses if its directory answers too slowly, which may happen on a
// busy machine.
func openInRealTime(t testing.TB, stream func() (a, b net.Conn)) (i, r *Conn, err error) {
	for range 5 {
		a, b := stream()
		i, r, err = newWorld(t).tryOpen(t, a, b)
		if !errors.Is(err, ErrUnauthorized) {
			break
		}
	}
	return i, r, err
}

func (w *world) tryOpen(t testing.TB, a, b net.Conn) (i, r *Conn, err error) {
	done := make(chan error, 1)
	go func() {
		var err error
		r, err = w.responder.Accept(t.Context(), w.accepting(b))
		done <- err
	}()
	i, err = w.initiate(t, a)
	return i, r, errors.Join(err, <-done)
}

// opened returns a tunnel over a link, which ends with the test.
func opened(t testing.TB, limit int) (i, r *Conn, a, b *end) {
	a, b = link(limit)
	i, r = newWorld(t).open(t, a, b)
	t.Cleanup(func() {
		i.Abort(net.ErrClosed)
		r.Abort(net.ErrClosed)
	})
	return i, r, a, b
}

// until waits for a channel, up to a limit that only a failing test reaches.
func until[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
	}
	return v
}

var testTime = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
