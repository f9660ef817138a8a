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

// The check is the handshake of a tunnel with a purpose of its own: its static
// keys are the two nodes' keys, and its members the contacts. It is bound to
// the two ephemeral keys and to the connection. It refuses peers as tunnels do.
var purpose = [16]byte([]byte("sdp2p-contact-v1"))

var errNoExporter = errors.New("contact: the connection has no TLS exporter to bind the check to")

func session(m junction.Meeting) (tunnel.Session, error) {
	binding, ok := m.Exporter(tunnel.ExporterLabel)
	if !ok {
		m.Reset()
		return tunnel.Session{}, errNoExporter
	}
	return tunnel.Session{Stream: m.Stream, Local: m.Local, Remote: m.Remote, Binding: binding, Addr: m.Addr, Reset: m.Reset}, nil
}

// Prove is for listeners.
func (c *Contacts) Prove(ctx context.Context, m junction.Meeting, contact identity.RemoteIdentity) error {
	s, err := session(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	credential := c.credential
	c.mu.Unlock()
	t, err := tunnel.Open(ctx, s, credential, tunnel.Member{Instance: contact, Node: m.Remote})
	if err != nil {
		return err
	}
	defer t.Close()
	return t.CloseWrite() // which sends the confirmation that the other side waits for
}

// Check is for listeners.
func (c *Contacts) Check(ctx context.Context, m junction.Meeting) (id identity.RemoteIdentity, err error) {
	s, err := session(m)
	if err != nil {
		return id, err
	}
	c.mu.Lock()
	d := &directory{c, c.credential, m.Remote}
	c.mu.Unlock()
	t, err := tunnel.NewResponder(d, tunnel.Limits{}).Accept(ctx, s)
	if err != nil {
		return id, err
	}
	defer t.Close()
	if err := t.SetReadDeadline(time.Now().Add(endTime)); err != nil {
		return id, err
	}
	if _, err := t.Read(make([]byte, 1)); err != io.EOF { // the end came with the confirmation
		m.Reset()
		return id, fmt.Errorf("contact: the check did not end properly: %w", err)
	}
	return t.Instance(), nil
}

// endTime is how long to wait for the end of a check.
const endTime = 2 * time.Second

// Has is for listeners.
func (c *Contacts) Has(id identity.RemoteIdentity) bool {
	form, err := id.X25519()
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.forms[[32]byte(form.Bytes())] == id
}

// A directory tells one check whom to accept. The listener limits the number of
// checks.
type directory struct {
	contacts   *Contacts
	credential *tunnel.Credential
	remote     identity.RemoteIdentity // the ephemeral key at the other end
}

func (d *directory) Credentials() []*tunnel.Credential { return []*tunnel.Credential{d.credential} }

func (d *directory) Member(_ *tunnel.Credential, key [32]byte) (tunnel.Member, bool) {
	d.contacts.mu.Lock()
	defer d.contacts.mu.Unlock()
	id, ok := d.contacts.forms[key]
	return tunnel.Member{Instance: id, Node: d.remote}, ok
}

func (d *directory) Knows(identity.RemoteIdentity) bool { return true }

func (d *directory) Allow(context.Context, uuid.UUID, tunnel.Member) bool { return true }
