package p2ptest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// MaxContacts is the most contacts that a node can have, as in package contact.
const MaxContacts = 984

// Errors of [Contacts.Set].
var (
	ErrTooManyContacts = fmt.Errorf("p2ptest: more than %d contacts", MaxContacts)
	ErrSameForm        = errors.New("p2ptest: a handshake could not tell two of the contacts apart")
)

// A ContactsConfig describes the contacts of a node.
type ContactsConfig struct {
	// Only starts the node in the mode in which it is visible only to its
	// contacts.
	Only bool

	// Also, if not nil, returns contacts besides those of [Contacts.Set], as
	// FromLibraries of package contact does. It is called when the node's
	// tracked peers change, and must not block.
	Also func() []identity.RemoteIdentity
}

// Contacts are the contacts of a node of a [Network], and the mode in which the
// node is visible only to them. They model what packages contact and mdns do in
// the mode ContactsOnly, without sockets, changing keys, and time. All methods
// may be called concurrently.
//
// A node in the mode and another node see each other, and can connect, only if
// the other one is in the mode too and each is a contact of the other. To all
// others it is invisible: attempts to connect at an address that they know fail
// with [ErrUnreachable]. Contacts can be given to package pairing as its
// contacts.
type Contacts struct {
	network *Network
	cfg     ContactsConfig

	// Under network.mu.
	only    bool
	scope   *p2p.Scope // nil while the hook does not run
	given   []identity.RemoteIdentity
	all     []identity.RemoteIdentity                           // contacts, without the node itself
	invites map[identity.RemoteIdentity]bool                    // by key
	visits  map[identity.RemoteIdentity]identity.RemoteIdentity // the keys of hosts
}

// Contacts returns the contacts of one node, none at first. The node must use
// the hooks of [Contacts.Hooks].
func (n *Network) Contacts(cfg ContactsConfig) *Contacts {
	return &Contacts{
		network: n, cfg: cfg, only: cfg.Only,
		invites: map[identity.RemoteIdentity]bool{}, visits: map[identity.RemoteIdentity]identity.RemoteIdentity{},
	}
}

// Hooks returns the contacts, a new listener and a new discovery, which replace
// those of [Network.Hooks], for the [p2p.Config.Hooks] of one node.
func (c *Contacts) Hooks() []p2p.Hook {
	l := c.network.Listener(ListenerConfig{}).(*listener)
	l.contacts = c
	return []p2p.Hook{l, &discovery{c.network, c}, c}
}

// Start starts a node as [Network.Start] does, with [Contacts.Hooks].
func (c *Contacts) Start(t testing.TB, cfg p2p.Config) *p2p.P2P {
	t.Helper()
	cfg.Hooks = append(c.Hooks(), cfg.Hooks...)
	return start(t, cfg)
}

// Name returns the network's name with the suffix "-contacts".
func (c *Contacts) Name() string { return c.network.cfg.Name + "-contacts" }

// Set replaces the contacts; the node itself is ignored among them. If the node
// is in the mode, it disconnects at once from peers that are no longer
// contacts. If Set fails, with [ErrTooManyContacts] or [ErrSameForm], nothing
// changes.
func (c *Contacts) Set(contacts []identity.RemoteIdentity) error {
	also := c.also()
	return c.change(func() error { return c.replace(slices.Clone(contacts), also) })
}

// SetOnly begins or ends the mode, and ends all connections of the node.
func (c *Contacts) SetOnly(only bool) {
	n := c.network
	n.mu.Lock()
	var ends []*end
	if c.only != only {
		c.only = only
		ends = c.connections(func(*end) bool { return true })
		n.wake()
	}
	n.mu.Unlock()
	for _, e := range ends {
		e.Close()
	}
}

// Run tracks the contacts, and follows those of Also, until ctx is done.
func (c *Contacts) Run(ctx context.Context, s *p2p.Scope) error {
	events := s.Node().Subscribe()
	defer events.Close()
	also := c.also()
	err := c.change(func() error {
		if c.scope != nil {
			return errors.New("p2ptest: the contacts already belong to a node")
		}
		c.scope = s
		err := c.replace(c.given, also)
		if err != nil {
			c.scope = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	defer c.change(func() error {
		c.scope, c.all = nil, nil
		return nil
	})
	s.Ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events.C:
			if !ok {
				return nil
			}
			switch e.(type) {
			case p2p.TrackedModified, p2p.Resync:
				if err := c.again(func() {}); err != nil {
					s.Logger().Warn("the contacts stay as they are", "cause", err)
				}
			}
		}
	}
}

// also returns the contacts that [ContactsConfig].Also adds.
func (c *Contacts) also() []identity.RemoteIdentity {
	if c.cfg.Also == nil {
		return nil
	}
	return c.cfg.Also()
}

// again calls Also again, and then calls then.
func (c *Contacts) again(then func()) error {
	also := c.also()
	return c.change(func() error {
		err := c.replace(c.given, also)
		then()
		return err
	})
}

// change calls do, ends the connections with peers that the node no longer
// meets, and wakes all members.
func (c *Contacts) change(do func() error) error {
	n := c.network
	n.mu.Lock()
	err := do()
	ends := c.connections(func(e *end) bool { return !e.host.meets(e.remote.host) })
	n.wake()
	n.mu.Unlock()
	for _, e := range ends {
		e.Close()
	}
	return err
}

// replace is Set. The caller holds network.mu.
func (c *Contacts) replace(given, also []identity.RemoteIdentity) error {
	forms, all := map[[32]byte]identity.RemoteIdentity{}, []identity.RemoteIdentity(nil)
	for _, id := range slices.Concat(given, also) {
		if c.scope != nil && id == c.scope.Node().Identity() {
			continue
		}
		form, err := id.X25519()
		if err != nil {
			return fmt.Errorf("p2ptest: %w", err)
		}
		other, ok := forms[[32]byte(form.Bytes())]
		switch {
		case ok && other != id:
			return ErrSameForm
		case !ok:
			forms[[32]byte(form.Bytes())] = id
			all = append(all, id)
		}
	}
	if len(all) > MaxContacts {
		return ErrTooManyContacts
	}
	c.given = given
	if c.scope == nil {
		return nil
	}
	for _, id := range all {
		if !slices.Contains(c.all, id) {
			c.scope.Track(id)
		}
	}
	for _, id := range c.all {
		if !slices.Contains(all, id) {
			c.scope.Untrack(id)
		}
	}
	c.all = all
	return nil
}

// connections returns the node's ends of some connections. The caller holds
// network.mu.
func (c *Contacts) connections(which func(*end) bool) (ends []*end) {
	for _, h := range c.network.hosts {
		for _, e := range h.ends {
			if h.contacts == c && which(e) {
				ends = append(ends, e)
			}
		}
	}
	return ends
}

// meet reports whether two nodes can see each other. a and b are nil for nodes
// without contacts. The caller holds network.mu.
func meet(a *Contacts, aID identity.RemoteIdentity, b *Contacts, bID identity.RemoteIdentity) bool {
	hidden := func(c *Contacts) bool { return c != nil && c.only }
	switch {
	case !hidden(a) && !hidden(b):
		return true
	case hidden(a) && hidden(b) && slices.Contains(a.all, bID) && slices.Contains(b.all, aID):
		return true
	}
	return a.visit(b, bID) || b.visit(a, aID)
}

func (h *host) meets(o *host) bool { return meet(h.contacts, h.id, o.contacts, o.id) }

// visit reports whether a node is about to pair with another one. The caller
// holds network.mu.
func (c *Contacts) visit(host *Contacts, id identity.RemoteIdentity) bool {
	if c == nil {
		return false
	}
	key, ok := c.visits[id]
	switch {
	case !ok:
		return false
	case host == nil || !host.only:
		return key.IsZero()
	}
	return host.invites[key]
}

// Invite is for package pairing.
func (c *Contacts) Invite([32]byte) (key identity.RemoteIdentity, port uint16, over func(), ok bool) {
	n := c.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if !c.only || c.scope == nil {
		return key, 0, nil, false
	}
	key = identity.New().Remote()
	c.invites[key] = true
	return key, 7373, func() { _ = c.again(func() { delete(c.invites, key) }) }, true
}

// Visit is for package pairing.
func (c *Contacts) Visit(host, key identity.RemoteIdentity, _ [32]byte) (over func()) {
	n := c.network
	n.mu.Lock()
	defer n.mu.Unlock()
	c.visits[host] = key
	return func() { _ = c.again(func() { delete(c.visits, host) }) }
}
