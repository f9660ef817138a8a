package library

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/tunnel"
)

// A draft is a record that is being modified.
type draft struct {
	Record
	library *Library
	roster  *roster.Roster
	before  *content
}

// errUnchanged is returned by the argument of change if there is nothing to
// change.
var errUnchanged = errors.New("library: nothing changed")

// change applies f to a copy of the record, stores the result, and then
// installs it. If f or storing fails, nothing changes.
func (l *Library) change(f func(*draft) error) error {
	l.hook.keeping.Lock() // so that records are stored in order
	defer l.hook.keeping.Unlock()
	before := l.content()
	d := &draft{Record: before.record.Clone(), library: l, roster: before.roster.Clone(), before: before}
	if err := f(d); err != nil {
		if errors.Is(err, errUnchanged) {
			return nil
		}
		return err
	}
	if err := d.settle(); err != nil {
		return err
	}
	d.standby()
	d.lose()
	if d.roster.Len() != before.roster.Len() {
		d.Statements = d.roster.All()
	}
	after, err := l.compile(d.Record, d.roster, before)
	if err != nil {
		return err
	}
	if err := l.hook.check(l, &after.record); err != nil {
		return err
	}
	if err := l.hook.keep(before.record, after.record); err != nil {
		return fmt.Errorf("library: the change could not be stored: %w", err)
	}
	if err := l.install(after); err != nil {
		return err
	}
	l.notify(before, after)
	return nil
}

// keep stores a record in place of the one before.
func (h *Libraries) keep(before, r Record) error {
	if h.cfg.Store != nil {
		if err := h.cfg.Store.keep(r); err != nil {
			return err
		}
	}
	if h.cfg.Changed == nil {
		return nil
	}
	err := h.cfg.Changed(r.Clone())
	if err != nil && h.cfg.Store != nil {
		return errors.Join(err, h.cfg.Store.keep(before))
	}
	return err
}

// check returns an error if a library cannot have a record.
func (h *Libraries) check(l *Library, r *Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.libraries[l.id] != l {
		return ErrRemoved
	}
	return h.fits(l, r)
}

// install replaces the content and ends the tunnels of instances that are no
// longer members, or live on another node.
func (l *Library) install(after *content) error {
	l.hook.mu.Lock()
	defer l.hook.mu.Unlock()
	l.mu.Lock()
	if l.removed {
		l.mu.Unlock()
		return ErrRemoved
	}
	l.now = after
	maps.DeleteFunc(l.members, func(instance identity.RemoteIdentity, _ *dealings) bool { return after.members[instance] == nil })
	maps.DeleteFunc(l.requests, func(asker identity.RemoteIdentity, s roster.Statement) bool {
		return !after.view.Admin(asker) || after.roster.Last(asker).Counter >= s.Counter // it has signed that statement, or another one
	})
	var out []*tunnel.Conn
	for c := range l.open {
		if m := after.members[c.Instance()]; after.out || m == nil || m.out || m.Node != c.Node() {
			out = append(out, c)
			delete(l.open, c)
		}
	}
	l.mu.Unlock()
	for _, c := range out {
		c.Abort(fmt.Errorf("%w: it was removed from the library", tunnel.ErrUnauthorized))
	}
	l.hook.track()
	l.hook.changed.tell()
	return nil
}

// say signs a statement as this device.
func (d *draft) say(body roster.Body) error {
	_, err := d.roster.Sign(d.library.instance, body, time.Now())
	return err
}

// admin fails unless this device is an admin.
func (d *draft) admin() error {
	if !d.roster.View().Admin(d.library.Instance()) {
		return ErrNotAdmin
	}
	return nil
}
