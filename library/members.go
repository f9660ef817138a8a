package library

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
)

// Admit makes an instance a member. First is the instance's own statement
// number 1, which says which node it lives on; name is for people. Package
// pairing calls Admit. Only the founder makes an admin: key, unless this device
// is the founder itself. Without the founder the instance becomes a member, the
// other admins are asked, and the error is [ErrAsked]. Plain members that live
// on the same node are removed: the device has joined again.
//
// It fails with [ErrNotAdmin]; with [roster.ErrInvalid] or another error of
// package roster if first is no such statement of this library; with
// [roster.ErrFull] if this device has added as many as it may; and with
// [ErrInvalid] if the instance has been removed.
func (l *Library) Admit(first roster.Statement, role Role, name string, key RecoveryKey) (Member, error) {
	var asked bool
	err := l.change(func(d *draft) error {
		if err := d.admin(); err != nil {
			return err
		}
		if d.roster.View().Removed(first.Signer) {
			return fmt.Errorf("%w: %v was removed for good; it has to make a new instance", ErrInvalid, first.Signer)
		}
		add := roster.Add{Instance: first.Signer, Role: role, Name: proto.CutString(name, roster.MaxName)}
		by, err := d.signer(key, role == RoleAdmin)
		if errors.Is(err, ErrAsked) {
			asked, by = true, d.library.instance
			add.Role = RoleMember
		} else if err != nil {
			return err
		}
		s, err := d.roster.Draft(by.Remote(), add, time.Now())
		if err == nil {
			err = s.Sign(by, d.Founder)
		}
		if err == nil {
			_, err = d.roster.Add(s, first)
		}
		if err != nil {
			return err
		}
		m, ok := d.roster.View().Member(first.Signer)
		switch places := d.places(by.Remote()); {
		case ok:
		case d.brought(by.Remote()) > places:
			return fmt.Errorf("%w: it has added %d, and may have no more", roster.ErrFull, places)
		default:
			return fmt.Errorf("%w: it does not make %v a member", roster.ErrInvalid, first.Signer)
		}
		if err := d.replaceOn(m); err != nil {
			return err
		}
		if !asked {
			return nil
		}
		add.Role = role
		return d.ask(add, true)
	})
	m, _ := l.Roster().Member(first.Signer)
	if err == nil && asked {
		err = ErrAsked
	}
	return m, err
}

// places returns the number of instances that a signer may add.
func (d *draft) places(by identity.RemoteIdentity) int {
	if by == d.Founder {
		return roster.FounderPlaces
	}
	return roster.Places
}

// brought returns the number of instances that a signer has added.
func (d *draft) brought(by identity.RemoteIdentity) int {
	added := map[identity.RemoteIdentity]bool{}
	for _, s := range d.roster.All() {
		if add, ok := s.Parse(d.Founder).(roster.Add); ok && s.Signer == by {
			added[add.Instance] = true
		}
	}
	return len(added)
}

// replaceOn removes the instances that a new member's node had before, since
// the device has joined again, under a new key. Only plain members are removed;
// an admin stays.
func (d *draft) replaceOn(m Member) error {
	for _, o := range d.roster.View().Members {
		if o.Node != m.Node || o.Instance == m.Instance || o.Role == RoleAdmin {
			continue
		}
		if err := d.say(roster.Remove{Instance: o.Instance, Last: d.roster.Last(o.Instance).Hash}); err != nil {
			return err
		}
	}
	return nil
}

// signer returns the key that signs for this device: the recovery key, if there
// is one; else the own instance. It fails with ErrAsked if the founder's or a
// second admin's signature is needed, and this device is not the founder.
func (d *draft) signer(key RecoveryKey, founders bool) (identity.Identity, error) {
	own := d.library.instance
	switch {
	case !key.IsZero() && key.Founder() != d.Founder:
		return own, fmt.Errorf("%w: it is the key of another library", ErrRecoveryKey)
	case !key.IsZero():
		return key.key, nil
	case founders && own.Remote() != d.Founder:
		return own, ErrAsked
	}
	return own, nil
}

// Promote makes a member an admin. The founder has to sign: key, unless this
// device is the founder itself. Without the founder the other admins are asked,
// and the error is [ErrAsked].
func (l *Library) Promote(instance identity.RemoteIdentity, key RecoveryKey) error {
	return l.decide(key, true, func(d *draft) (roster.Body, bool, error) {
		m, ok := d.roster.View().Member(instance)
		if !ok {
			return nil, false, fmt.Errorf("%w: %v", ErrNoMember, instance)
		}
		return roster.Add{Instance: instance, Role: RoleAdmin, Name: m.Name}, true, nil
	})
}

// RemoveOptions tune [Library.Remove]. The zero value suits most users.
type RemoveOptions struct {
	// Last is the last statement of the removed instance that still counts. If
	// zero, the last known one. An earlier one undoes the statements signed
	// after it, for example by a thief.
	Last roster.Hash
	// KeepSecret leaves the library's secret as it is. The removed device knows
	// the secret, which alone gives no access.
	KeepSecret bool
	// Key is the recovery key, if the user has it at hand.
	Key RecoveryKey
}

// Remove removes a member, on all devices of the library and for good: devices
// that are connected cut its tunnels at once. If it is an admin, the founder
// has to sign, or the other admins are asked, and the error is [ErrAsked]. An
// admin that was removed can be removed again, with an earlier
// [RemoveOptions.Last]: its later statements no longer count. It fails with
// [ErrNotAdmin] and [ErrNoMember].
func (l *Library) Remove(instance identity.RemoteIdentity, opts RemoveOptions) error {
	err := l.decide(opts.Key, opts.KeepSecret, func(d *draft) (roster.Body, bool, error) {
		view, last := d.roster.View(), opts.Last
		_, member := view.Member(instance)
		again := view.WasAdmin(instance) && view.Removed(instance) && !last.IsZero()
		if !member && !again && !leftAlone(view, instance) {
			return nil, false, fmt.Errorf("%w: %v", ErrNoMember, instance)
		}
		if last.IsZero() {
			last = d.roster.Last(instance).Hash
		}
		return roster.Remove{Instance: instance, Last: last}, view.WasAdmin(instance), nil
	})
	if err == nil {
		l.rotateIfDue()
	}
	return err
}

// decide signs a statement about a member, or asks other admins for it. Body
// also returns whether the statement takes the founder or two admins. Keep is
// whether the secret stays as it is.
func (l *Library) decide(key RecoveryKey, keep bool, body func(*draft) (_ roster.Body, founders bool, _ error)) error {
	var asked bool
	err := l.change(func(d *draft) error {
		if key.IsZero() {
			if err := d.admin(); err != nil {
				return err
			}
		}
		says, founders, err := body(d)
		if err != nil {
			return err
		}
		by, err := d.signer(key, founders)
		if asked = errors.Is(err, ErrAsked); asked {
			return d.ask(says, keep)
		}
		if err == nil {
			_, err = d.roster.Sign(by, says, time.Now())
		}
		d.Rotate = d.Rotate || !keep
		return err
	})
	if err == nil && asked {
		err = ErrAsked
	}
	return err
}

// Leave removes this device's instance from the library, on each device as it
// becomes available. The library can still be read. If this device is an admin,
// the other admins are asked to remove it, too, since its key would still be of
// use to a thief. It fails with [ErrNotMember].
func (l *Library) Leave() error {
	return l.change(func(d *draft) error {
		own := l.Instance()
		if _, ok := d.roster.View().Member(own); !ok {
			return ErrNotMember
		}
		d.Asking = nil
		return d.say(roster.Remove{Instance: own, Last: d.roster.Last(own).Hash})
	})
}

// Block keeps an instance out on this device, whatever the roster says: its
// tunnels end and it cannot open any. Nobody is told. A plain member can block,
// too.
func (l *Library) Block(instance identity.RemoteIdentity) error {
	return l.change(func(d *draft) error {
		switch {
		case d.blocked(instance):
			return errUnchanged
		case len(d.Blocked) >= MaxBlocked:
			return fmt.Errorf("library: more than %d instances would be blocked", MaxBlocked)
		}
		d.Blocked = append(d.Blocked, instance)
		return nil
	})
}

// Unblock reverts [Library.Block].
func (l *Library) Unblock(instance identity.RemoteIdentity) error {
	return l.change(func(d *draft) error {
		if !d.blocked(instance) {
			return errUnchanged
		}
		d.Blocked = slices.DeleteFunc(d.Blocked, func(o identity.RemoteIdentity) bool { return o == instance })
		return nil
	})
}

// moved signs that this device's instance lives on this node, if the roster
// says otherwise.
func (l *Library) moved(node identity.Identity) error {
	return l.change(func(d *draft) error {
		own := l.Instance()
		m, ok := d.roster.View().Member(own)
		if !ok || m.Node == node.Remote() {
			return errUnchanged
		}
		d.Asking = nil
		return d.say(roster.SignMove(node, d.Founder, d.ID, own, d.roster.Last(own).Counter+1))
	})
}
