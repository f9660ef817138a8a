package main

import (
	"context"

	"github.com/sdp2p/p2p/pairing"
)

// A Question asks the user, before a device becomes a member, whether the other
// device shows the same digits.
type Question func(ctx context.Context, name, digits string) (yes bool)

func (q Question) confirm(ctx context.Context, d pairing.Device) bool {
	return q(ctx, clean(d.Name), d.Code)
}

// Invite makes a ticket for one other device, and returns at once. Then wait
// returns the name of the one that has joined.
func (d *Device) Invite(ask Question) (ticket string, wait func(context.Context) (string, error), err error) {
	n := d.notebook.Load()
	if n == nil {
		return "", nil, errNoNotebook
	}
	i, err := d.pairing.Invite(n.library, pairing.InviteConfig{Confirm: ask.confirm})
	if err != nil {
		return "", nil, err
	}
	return i.Ticket().Text(), func(ctx context.Context) (string, error) {
		m, err := i.Wait(ctx)
		if err != nil {
			i.Cancel()
		}
		return clean(m.Name), err
	}, nil
}

// Join joins the notebook of the device that made a ticket, and stores it.
func (d *Device) Join(ctx context.Context, ticket string, ask Question) error {
	if d.notebook.Load() != nil {
		return errNotebook
	}
	t, err := pairing.ParseTicket(ticket)
	if err != nil {
		return err
	}
	l, err := d.pairing.Join(ctx, t, pairing.JoinConfig{Confirm: ask.confirm})
	if err != nil {
		return err
	}
	return d.attach(l)
}
