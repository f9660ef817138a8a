package quic

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
)

// A pass lets a node that is not a contact be connected until the pass is over.
type pass struct{ over atomic.Bool }

// valid reports whether p is not nil and not over.
func (p *pass) valid() bool { return p != nil && !p.over.Load() }

// An invitation is a separate mask, under which nodes are checked in a
// different way than contacts. It stays when the present mask is replaced, so
// that the invited node finds its key. Both end with the endpoint, and so with
// the network.
type invitation struct {
	pass
	mask  *mask
	check checkFunc
}

type checkFunc = func(context.Context, junction.Meeting) (identity.RemoteIdentity, error)

// A visit is a visit to a node that is not a contact and has invited this one.
type visit struct {
	pass
	mask  *mask                   // nil: the node shows its identity once the host has
	key   identity.RemoteIdentity // of the host's invitation
	prove func(context.Context, junction.Meeting) error
}

// invited returns the invitation for a handshake that names a server, or nil.
func (v *veil) invited(name string) *invitation {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.invitedLocked(name)
}

func (v *veil) invitedLocked(name string) *invitation {
	for _, i := range v.invitations {
		if i.mask.name == name {
			return i
		}
	}
	return nil
}

// Invite implements [junction.Veiled].
func (c cover) Invite(key identity.Identity, check checkFunc) (port uint16, over func(), ok bool) {
	e := c.listener.running()
	if e == nil || e.veil == nil {
		return 0, nil, false
	}
	m, err := newMask(key)
	if err != nil {
		e.log.Error("no certificate could be made", "cause", err)
		return 0, nil, false
	}
	i := &invitation{mask: m, check: check}
	v := e.veil
	v.mu.Lock()
	defer v.mu.Unlock()
	v.invitations = append(v.invitations, i)
	return e.port, func() {
		v.mu.Lock()
		v.invitations = slices.DeleteFunc(v.invitations, func(o *invitation) bool { return o == i })
		v.mu.Unlock()
		e.seeOff(&i.pass)
	}, true
}

// Visit implements [junction.Veiled].
func (c cover) Visit(host, key identity.RemoteIdentity, prove func(context.Context, junction.Meeting) error) (over func()) {
	e := c.listener.running()
	if e == nil || e.veil == nil && key.IsZero() { // neither side hides anything
		return func() {}
	}
	v := &visit{key: key, prove: prove}
	if key.IsZero() {
		v.key = host
	} else {
		m, err := newMask(identity.New())
		if err != nil {
			e.log.Error("no certificate could be made", "cause", err)
			return func() {}
		}
		v.mask = m
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.visits[host] = v
	return func() {
		e.mu.Lock()
		if e.visits[host] == v {
			delete(e.visits, host)
		}
		e.mu.Unlock()
		e.seeOff(&v.pass)
	}
}

// visiting returns the visit to a node, or nil.
func (e *endpoint) visiting(host identity.RemoteIdentity) *visit {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.visits[host]
}

// seeOff ends a pass: a node that hides its identity closes the connections
// with holders of the pass that have not become contacts.
func (e *endpoint) seeOff(p *pass) {
	p.over.Store(true)
	if e.veil == nil {
		return
	}
	for _, c := range e.all() {
		if c.pass == p && !e.veil.contacts.Has(c.id) {
			e.start(func() { c.Close() })
		}
	}
}

// welcome reports whether a connection between masks is with a contact or a
// guest.
func (c *conn) welcome() bool {
	v := c.endpoint.veil
	return !c.veiled || c.pass.valid() || v != nil && v.contacts.Has(c.id)
}
