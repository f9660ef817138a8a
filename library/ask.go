package library

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

const askRoute = reserved + "ask"

// A Request is a request of another admin, who wants to make or remove an admin
// and needs a second signature. If By is Instance, the admin has left, and its
// key is to be removed, too: it would still be of use to a thief.
type Request struct {
	By       Member
	Instance identity.RemoteIdentity // the subject of the request
	Remove   bool                    // whether to remove it, or to make it an admin
	Name     string                  // of an instance that is to become an admin
	// Undone is the number of statements of Instance, among those that this
	// device knows, that the removal undoes: the last ones if its key was
	// stolen. A thief may ask to undo more. See [RemoveOptions.Last].
	Undone int

	draft roster.Statement
}

// ask records a statement for which this device needs a second signature, in
// place of an earlier one. The caller tells the app with ErrAsked.
func (d *draft) ask(body roster.Body, keep bool) error {
	s, err := d.roster.Draft(d.library.Instance(), body, time.Now())
	if err != nil {
		return err
	}
	d.Asking, d.KeepSecret = &s, keep
	return nil
}

// settle signs the statement that this device has asked for if an admin has
// agreed, and asks anew if something else was signed in the meantime.
func (d *draft) settle() error {
	if d.Asking == nil {
		return nil
	}
	own := d.library.Instance()
	about, _ := subject(d.Asking, d.Founder)
	agreed := slices.ContainsFunc(d.roster.Endorsers(d.Asking.UnsignedHash()), func(by identity.RemoteIdentity) bool {
		return by != own && by != about
	})
	last := d.roster.Last(own)
	switch {
	case !d.roster.View().Admin(own):
		d.Asking = nil
	case last.Hash != d.Asking.Previous:
		d.Asking.Previous, d.Asking.Counter = last.Hash, last.Counter+1
	case agreed:
		s := *d.Asking
		d.Asking = nil
		d.Rotate = d.Rotate || !d.KeepSecret
		if err := s.Sign(d.library.instance, d.Founder); err != nil {
			return err
		}
		_, err := d.roster.Add(s)
		return err
	}
	return nil
}

// subject returns the instance that an add or a remove is about, and the body.
func subject(s *roster.Statement, founder identity.RemoteIdentity) (identity.RemoteIdentity, roster.Body) {
	switch body := s.Parse(founder).(type) {
	case roster.Add:
		return body.Instance, body
	case roster.Remove:
		return body.Instance, body
	}
	return identity.RemoteIdentity{}, nil
}

// Requests returns the requests that other admins have made since the start and
// that this device has neither endorsed nor declined: at most one of each
// admin.
func (l *Library) Requests() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Request
	for _, m := range l.now.order {
		if s, ok := l.requests[m.Instance]; ok {
			all = append(all, l.request(m.Member, s))
		}
	}
	for _, m := range l.now.leavers {
		if !l.declined[m.Instance] {
			all = append(all, leaving(m))
		}
	}
	return all
}

// leaving returns the request of an admin that has left.
func leaving(m Member) Request { return Request{By: m, Instance: m.Instance, Remove: true} }

func (l *Library) request(by Member, s roster.Statement) Request {
	instance, body := subject(&s, l.now.record.Founder)
	r := Request{By: by, Instance: instance, draft: s}
	switch body := body.(type) {
	case roster.Add:
		r.Name = text.Plain(body.Name)
	case roster.Remove:
		r.Remove, r.Undone = true, l.now.undone(body)
	}
	return r
}

// undone returns the number of its target's statements that a removal undoes.
func (c *content) undone(r roster.Remove) (n int) {
	for _, s := range c.roster.All() {
		if s.Signer == r.Instance {
			n++
		}
	}
	for s, ok := c.roster.Statement(r.Last); ok && s.Signer == r.Instance; s, ok = c.roster.Statement(s.Previous) {
		n--
	}
	return n
}

// Endorse agrees to a request: this device signs as the second admin, and the
// request takes effect once the asker signs. It fails with [ErrNotAdmin]. For
// an admin that has left, Endorse calls [Library.Remove].
func (l *Library) Endorse(r Request) error {
	if r.By.Instance == r.Instance {
		return l.Remove(r.Instance, RemoveOptions{})
	}
	err := l.change(func(d *draft) error {
		if err := d.admin(); err != nil {
			return err
		}
		return d.say(roster.Endorse{Of: r.draft.UnsignedHash()})
	})
	if err == nil {
		l.Decline(r)
	}
	return err
}

// Decline forgets a request.
func (l *Library) Decline(r Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.By.Instance == r.Instance {
		l.declined[r.Instance] = true
	}
	if s, ok := l.requests[r.By.Instance]; ok && s.UnsignedHash() == r.draft.UnsignedHash() {
		delete(l.requests, r.By.Instance)
	}
}

// serveAsk is the handler of the route for requests: a draft, answered with a
// byte 1.
func (l *Library) serveAsk(_ context.Context, c *tunnel.Conn) error {
	var s roster.Statement
	if err := s.DecodeFrom(proto.NewDecoder(c)); err != nil {
		return err
	}
	now := l.content()
	about, body := subject(&s, now.record.Founder)
	add, isAdd := body.(roster.Add)
	own := l.Instance()
	switch m := now.members[c.Instance()]; {
	case m == nil || s.Signer != c.Instance() || s.Library != l.id || body == nil || isAdd && add.Role != RoleAdmin:
		return fmt.Errorf("%w: not a request", roster.ErrInvalid)
	case m.Role != RoleAdmin || !now.view.Admin(own) || about == own:
		return ErrNotAdmin
	default:
		l.mu.Lock()
		before, again := l.requests[s.Signer]
		l.requests[s.Signer] = s
		request := l.request(m.Member, s)
		l.mu.Unlock()
		if notify := l.hook.cfg.Notify; notify != nil && (!again || before.UnsignedHash() != s.UnsignedHash()) {
			l.hook.keeping.Lock()
			notify(Asked{Library: l, Request: request})
			l.hook.keeping.Unlock()
		}
	}
	_, err := c.Write([]byte{heard})
	return err
}

// exchangeAsk asks an admin, over a tunnel to the route for requests.
func (l *Library) exchangeAsk(c *tunnel.Conn) error {
	asking := l.Record().Asking
	if asking == nil {
		return nil
	}
	b, err := asking.AppendBinary(nil)
	if err != nil {
		return err
	}
	if _, err := c.Write(b); err != nil {
		return err
	}
	if d := proto.NewDecoder(c); d.Uint8() != heard {
		return errors.Join(errors.New("library: the admin did not take the request"), d.Err())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.with(c.Instance()).asked = asking.UnsignedHash()
	return nil
}

const heard = 1 // acknowledges a message
