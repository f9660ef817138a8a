package mdns

import (
	"context"
	"errors"
	"fmt"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/junction"
)

// Contacts is implemented by *[contact.Contacts], which [New] of package
// contact returns.
//
// [New]: https://pkg.go.dev/github.com/sdp2p/p2p/contact#New
// [contact.Contacts]: https://pkg.go.dev/github.com/sdp2p/p2p/contact#Contacts
type Contacts interface {
	junction.Contacts
	// Announce announces this node to its contacts, and browses, until ctx is
	// done or changed is closed. It belongs to package contact, so that a
	// program without contacts does not link it.
	Announce(ctx context.Context, cfg dnssd.Config, changed <-chan struct{}) error
}

// ErrNoContacts is the error of a [Discovery] in the mode [ContactsOnly] whose
// Config.Contacts is nil.
var ErrNoContacts = errors.New("mdns: the mode ContactsOnly needs Config.Contacts")

// veil tells package contact whether the mode is contacts-only.
func (d *Discovery) veil(mode Mode) {
	if d.cfg.Contacts != nil {
		d.cfg.Contacts.Veil(mode == ContactsOnly)
	}
}

// contactsOnly runs an engine that reveals nothing about the node, until ctx is
// done or changed is closed.
func (d *Discovery) contactsOnly(ctx context.Context, s *p2p.Scope, changed <-chan struct{}) error {
	if d.cfg.Contacts == nil {
		return ErrNoContacts
	}
	err := d.cfg.Contacts.Announce(ctx, d.engineConfig(s), changed)
	if err != nil {
		return fmt.Errorf("mdns: %w", err)
	}
	return nil
}

// engineConfig returns the part of the configuration that engines of all modes
// share.
func (d *Discovery) engineConfig(s *p2p.Scope) dnssd.Config {
	return dnssd.Config{
		Service:    "_" + s.Node().App() + "._udp",
		Interfaces: d.cfg.Interfaces,
		Logger:     s.Logger(),
		Network:    d.cfg.network,
		Counters:   &d.counters,
		Silence:    &d.missing,
		Ready:      s.Ready,
	}
}
