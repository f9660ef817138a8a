package contact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/shown"
	"github.com/sdp2p/p2p/internal/tags"
	"github.com/sdp2p/p2p/tunnel"
)

// MaxContacts is the number of contacts that a node can have.
const MaxContacts = tags.MaxContacts

// ErrTooMany is returned for more than [MaxContacts] contacts.
var ErrTooMany = fmt.Errorf("contact: more than %d contacts", MaxContacts)

// A Listener is a listener that can hide which node it is: *[quic.Listener].
//
// [quic.Listener]: https://pkg.go.dev/github.com/sdp2p/p2p/quic#Listener
type Listener interface {
	p2p.Listener
	Veiled() junction.Veiled
}

// A Config describes the contacts of a node.
type Config struct {
	// Listener is the listener of the same node. Required.
	Listener Listener

	// Also, if not nil, returns contacts in addition to those of
	// [Contacts.Set], as [FromLibraries] does. It is called when the node's
	// tracked peers change, and must not block.
	Also func() []identity.RemoteIdentity
}

// Contacts is a [p2p.Hook] that finds the contacts of a node while the node is
// visible to nobody else. Its methods may be called concurrently, whether it
// runs or not.
type Contacts struct {
	cfg      Config
	listener junction.Veiled
	wake     chan struct{} // of size 1: Run has something to do

	hosts shown.Hosts

	changing sync.Mutex // held while contacts, the mode or the key change; taken before mu

	mu         sync.Mutex      // guards what follows
	scope      *p2p.Scope      // nil while it does not run
	ctx        context.Context // of the run
	given      []identity.RemoteIdentity
	set        *tags.Set // nil while it does not run
	forms      map[[32]byte]identity.RemoteIdentity
	credential *tunnel.Credential
	matcher    *tags.Matcher
	known      map[identity.RemoteIdentity]*sighting
	parting    []func() // ends of invitations and visits that are over, for Run

	veiled  bool
	next    identity.Identity // of the socket that is about to listen
	key     identity.Identity // of the socket that listens
	at      junction.Socket   // its addresses; zero: none listens
	shown   junction.Shown
	due     time.Time     // when the next epoch begins
	changed chan struct{} // closed when what Show returns changes
	pace    junction.Pace // zero: that of epochs
}

var (
	_ p2p.Reconfirmer   = (*Contacts)(nil)
	_ junction.Contacts = (*Contacts)(nil)
	_ junction.Veil     = (*Contacts)(nil)
)

// New makes a hook to be registered with one node. It panics if cfg.Listener is
// nil.
func New(cfg Config) *Contacts {
	if cfg.Listener == nil {
		panic("contact: Config.Listener is required")
	}
	c := &Contacts{
		cfg: cfg, listener: cfg.Listener.Veiled(), wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	c.matcher = tags.NewMatcher(time.Now)
	c.forget()
	return c
}

// forget restores the state before Run. The caller holds mu, or is alone.
func (c *Contacts) forget() {
	c.scope, c.set, c.forms = nil, nil, nil
	c.matcher.SetContacts(nobody())
	c.known = map[identity.RemoteIdentity]*sighting{}
	c.credential = tunnel.NewCredentialFor(purpose, identity.New(), [32]byte{}) // of nobody: every peer is refused, in the usual way
}

// match makes the matcher look for the contacts in set. The caller holds mu.
func (c *Contacts) match(set *tags.Set) {
	if set.Len() == 0 {
		set = nobody()
	}
	c.matcher.SetContacts(set)
}

// nobody returns a set with one contact that does not exist: without any, a
// matcher would not remember instances for contacts that are added later.
func nobody() *tags.Set {
	set, err := tags.NewSet(identity.New(), []identity.RemoteIdentity{identity.New().Remote()}, nil)
	if err != nil {
		panic("contact: " + err.Error()) // two random keys
	}
	return set
}

// Name returns "contact".
func (c *Contacts) Name() string { return "contact" }

// Set replaces the contacts; this node itself is ignored among them. While the
// node is visible to contacts only, nodes that are no longer contacts are
// disconnected at once, and a new epoch begins. It fails, and changes nothing,
// with [ErrTooMany], or if a key is not safe or two of them cannot both be
// contacts.
func (c *Contacts) Set(contacts []identity.RemoteIdentity) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	return c.replace(slices.Clone(contacts))
}

// replace is Set. The caller holds changing.
func (c *Contacts) replace(given []identity.RemoteIdentity) error {
	c.mu.Lock()
	scope, before := c.scope, c.set
	c.mu.Unlock()
	self := identity.New() // to check the keys
	if scope != nil {
		self = scope.Identity()
	}
	all := slices.Clone(given)
	if scope != nil && c.cfg.Also != nil {
		all = append(all, c.cfg.Also()...)
	}
	all = slices.DeleteFunc(all, func(id identity.RemoteIdentity) bool { return id == self.Remote() })
	set, err := tags.NewSet(self, all, before)
	switch {
	case err != nil:
		return fmt.Errorf("contact: %w", err)
	case set.Len() > MaxContacts:
		return ErrTooMany
	}
	forms := map[[32]byte]identity.RemoteIdentity{}
	for _, id := range set.Contacts() {
		form, err := id.X25519()
		if err != nil {
			return fmt.Errorf("contact: %w", err)
		}
		forms[[32]byte(form.Bytes())] = id
	}
	c.mu.Lock()
	c.given = given
	if scope == nil {
		c.mu.Unlock()
		return nil
	}
	added, removed := differ(before.Contacts(), set.Contacts())
	c.set, c.forms = set, forms
	c.match(set)
	for _, id := range removed {
		delete(c.known, id)
	}
	veiled := c.veiled
	c.mu.Unlock()
	c.follow(scope, added, removed)
	if veiled && before != nil && len(added)+len(removed) > 0 {
		c.rotate(len(removed) == 0)
	}
	signal(c.wake)
	return nil
}

// follow tells the node and the listener of a change.
func (c *Contacts) follow(scope *p2p.Scope, added, removed []identity.RemoteIdentity) {
	for _, id := range added {
		scope.Track(id)
	}
	for _, id := range removed {
		c.listener.Cut(id)
		_ = scope.Expired(id)
		scope.Untrack(id)
	}
}

// differ returns the elements that are in one list only.
func differ(before, after []identity.RemoteIdentity) (added, removed []identity.RemoteIdentity) {
	in := func(all []identity.RemoteIdentity) map[identity.RemoteIdentity]bool {
		m := make(map[identity.RemoteIdentity]bool, len(all))
		for _, id := range all {
			m[id] = true
		}
		return m
	}
	was, is := in(before), in(after)
	for _, id := range after {
		if !was[id] {
			added = append(added, id)
		}
	}
	for _, id := range before {
		if !is[id] {
			removed = append(removed, id)
		}
	}
	return added, removed
}

// signal sends on a channel of size 1 unless it holds a value.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

var errRuns = errors.New("contact: the hook is already running")
