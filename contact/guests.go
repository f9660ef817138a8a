package contact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/tunnel"
)

// A node that pairs is let in before it is a contact, by a secret from a
// ticket. Its check differs from a contact's in three ways: it is for a key of
// the invitation, the secret is the tunnel's, and since this node does not know
// the guest's key, the guest sends it in the tunnel:
//
//	size  field
//	32    key of the guest's node, whose X25519 form is the tunnel's static key
var guestPurpose = [16]byte([]byte("sdp2p-invited-v1"))

var errOtherKey = errors.New("the guest has proved another key")

// Invite is for package pairing.
func (c *Contacts) Invite(secret [32]byte) (key identity.RemoteIdentity, port uint16, over func(), ok bool) {
	c.mu.Lock()
	scope := c.scope
	c.mu.Unlock()
	if scope == nil {
		return key, 0, nil, false
	}
	credential := tunnel.NewCredentialFor(guestPurpose, scope.Identity(), secret)
	own := identity.New()
	port, end, ok := c.listener.Invite(own, func(ctx context.Context, m junction.Meeting) (identity.RemoteIdentity, error) {
		return admit(ctx, m, credential)
	})
	if !ok {
		return key, 0, nil, false
	}
	return own.Remote(), port, func() { c.partFrom(end) }, true
}

// Visit is for package pairing.
func (c *Contacts) Visit(host, key identity.RemoteIdentity, secret [32]byte) (over func()) {
	c.mu.Lock()
	scope := c.scope
	c.mu.Unlock()
	if scope == nil {
		return func() {}
	}
	credential := tunnel.NewCredentialFor(guestPurpose, scope.Identity(), secret)
	end := c.listener.Visit(host, key, func(ctx context.Context, m junction.Meeting) error {
		return enter(ctx, m, credential, scope.Identity().Remote(), host)
	})
	return func() { c.partFrom(end) }
}

// partFrom makes Run end an invitation or a visit, once Run knows which node
// has become a contact by it. It does not wait.
func (c *Contacts) partFrom(end func()) {
	c.mu.Lock()
	runs := c.scope != nil
	if runs {
		c.parting = append(c.parting, end)
	}
	c.mu.Unlock()
	if !runs {
		end()
		return
	}
	signal(c.wake)
}

// part ends the invitations and visits that are over.
func (c *Contacts) part() {
	c.mu.Lock()
	ends := c.parting
	c.parting = nil
	c.mu.Unlock()
	if len(ends) == 0 {
		return
	}
	c.again()
	for _, end := range ends {
		end()
	}
}

// enter proves to a host which node this is, and that it was invited.
func enter(ctx context.Context, m junction.Meeting, with *tunnel.Credential, self, host identity.RemoteIdentity) error {
	s, err := session(m)
	if err != nil {
		return err
	}
	t, err := tunnel.Open(ctx, s, with, tunnel.Member{Instance: host, Node: m.Remote})
	if err != nil {
		return err
	}
	defer t.Close()
	key := self.Bytes()
	if _, err := t.Write(key[:]); err != nil {
		return err
	}
	return t.CloseWrite()
}

// admit makes the other end prove that it was invited, and returns its
// identity.
func admit(ctx context.Context, m junction.Meeting, with *tunnel.Credential) (id identity.RemoteIdentity, err error) {
	s, err := session(m)
	if err != nil {
		return id, err
	}
	d := &guestbook{with: with, remote: m.Remote}
	t, err := tunnel.NewResponder(d, tunnel.Limits{}).Accept(ctx, s)
	if err != nil {
		return id, err
	}
	defer t.Close()
	if err := t.SetReadDeadline(time.Now().Add(endTime)); err != nil {
		return id, err
	}
	said, err := io.ReadAll(io.LimitReader(t, identity.Size+1))
	if err == nil {
		id, err = identity.FromBytes(said)
	}
	if err == nil {
		err = d.proves(id)
	}
	if err != nil {
		m.Reset()
		return identity.RemoteIdentity{}, fmt.Errorf("contact: a guest did not send its key: %w", err)
	}
	return id, nil
}

// A guestbook is the directory of one guest's check. Its fields are written
// before the check is over.
type guestbook struct {
	with   *tunnel.Credential
	remote identity.RemoteIdentity // the ephemeral key at the other end
	key    [32]byte                // the key that the guest has proved to have
}

func (d *guestbook) Credentials() []*tunnel.Credential { return []*tunnel.Credential{d.with} }

func (d *guestbook) Member(_ *tunnel.Credential, key [32]byte) (tunnel.Member, bool) {
	d.key = key
	return tunnel.Member{Instance: d.remote, Node: d.remote}, true
}

func (d *guestbook) Knows(identity.RemoteIdentity) bool { return true }

func (d *guestbook) Allow(context.Context, uuid.UUID, tunnel.Member) bool { return true }

// proves returns an error unless a node is the one that has proved its key.
func (d *guestbook) proves(id identity.RemoteIdentity) error {
	form, err := id.X25519()
	if err != nil {
		return err
	}
	if [32]byte(form.Bytes()) != d.key {
		return errOtherKey
	}
	return nil
}
