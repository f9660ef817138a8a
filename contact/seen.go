package contact

import (
	"context"
	"slices"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/tags"
)

const (
	goneTime  = 3 * time.Second // from the end of a contact's last instance: after an epoch, another one follows
	toldTime  = 5 * time.Second // how long to wait for a contact's metadata
	dialMost  = 4               // attempts to connect with one contact in dialSpan
	dialSpan  = 30 * time.Second
	dialAgain = 2 * time.Second // after the first attempt that failed; doubles
)

// A sighting is a contact with announced instances. Contacts.mu guards its
// fields.
type sighting struct {
	at       tags.Match  // the instance that was checked, or is being checked
	newest   tags.Match  // the instance seen last
	found    bool        // the contact has proved its presence, or is connected, and the node knows
	checking bool        // a goroutine looks for it
	turn     int         // the index of the instance to check next
	dials    []time.Time // the last attempts
	next     time.Time   // of the next attempt, after a failed one
	wait     time.Duration
	gone     time.Time // when the last instance went; zero while there is one
}

// Seen is for package mdns.
func (c *Contacts) Seen(in junction.Instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.veiled && in.Label != c.shown.Label {
		c.matcher.Seen(tags.Instance(in))
		signal(c.wake)
	}
}

// Gone is for package mdns.
func (c *Contacts) Gone(label string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.matcher.Gone(label)
	signal(c.wake)
}

// Key is for listeners.
func (c *Contacts) Key(contact identity.RemoteIdentity) (identity.RemoteIdentity, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.known[contact]
	if s == nil {
		return identity.RemoteIdentity{}, false
	}
	all := c.matcher.Matches(contact)
	switch {
	case slices.ContainsFunc(all, func(m tags.Match) bool { return m.Label == s.at.Label }):
		return s.at.Key, true
	case len(all) > 0:
		return all[0].Key, true // of the next epoch, which was not checked yet
	case s.found:
		return s.at.Key, true
	}
	return s.newest.Key, true
}

// Reconfirm checks whether a contact that could not be reached is still there.
func (c *Contacts) Reconfirm(id identity.RemoteIdentity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.known[id]; s != nil && s.found {
		s.found = false
		s.turn++
		signal(c.wake)
	}
}

// review looks for contacts among the instances, and checks and reports those
// it finds; start starts a goroutine. It returns when to call it again.
func (c *Contacts) review(now time.Time, start func(func())) (next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, next := c.matcher.Check()
	for _, m := range found {
		s := c.known[m.Contact]
		if s == nil {
			s = &sighting{at: m}
			c.known[m.Contact] = s
		}
		s.newest = m
		if m.Key != s.at.Key { // not a copy: only the contact can announce another key
			s.next, s.wait, s.turn = time.Time{}, 0, 0
		}
	}
	for id, s := range c.known {
		if at := c.reviewOne(id, s, now, start); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// reviewOne is review for one contact. The caller holds mu.
func (c *Contacts) reviewOne(id identity.RemoteIdentity, s *sighting, now time.Time, start func(func())) (next time.Time) {
	all := c.matcher.Matches(id)
	if len(all) == 0 {
		if s.gone.IsZero() {
			s.gone = now
		}
		if s.checking || now.Before(s.gone.Add(goneTime)) {
			return s.gone.Add(goneTime)
		}
		delete(c.known, id)
		_ = c.scope.Expired(id)
		return next
	}
	s.gone = time.Time{}
	if s.found {
		for _, m := range all {
			if m.Label == s.at.Label {
				if !same(m, s.at) {
					s.at = m
					c.report(id, s)
				}
				return next
			}
		}
		s.found, s.turn = false, 0
	}
	if s.checking {
		return next
	}
	s.at = all[s.turn%len(all)]
	connected := c.connected(id)
	if !connected && now.Before(s.next) {
		return s.next
	}
	if wait := s.tooOften(now); !connected && !wait.IsZero() {
		return wait
	}
	s.checking = true
	if !connected {
		s.dials = append(s.dials, now)
	}
	scope, at := c.scope, s.at
	start(func() { c.look(scope, id, at, s) })
	return next
}

// connected reports whether a contact is connected, and so need not be dialed.
func (c *Contacts) connected(id identity.RemoteIdentity) bool {
	peer, ok := c.scope.Node().Peer(id)
	return ok && peer.Connected()
}

func same(a, b tags.Match) bool {
	if a.Key != b.Key || len(a.Addrs) != len(b.Addrs) {
		return false
	}
	for i := range a.Addrs {
		if a.Addrs[i] != b.Addrs[i] {
			return false
		}
	}
	return true
}

// tooOften returns when the contact may be dialed again if it has been dialed
// too often: anybody can announce a copy of its announcement with other
// addresses.
func (s *sighting) tooOften(now time.Time) (until time.Time) {
	for len(s.dials) > 0 && now.Sub(s.dials[0]) >= dialSpan {
		s.dials = s.dials[1:]
	}
	if len(s.dials) < dialMost {
		return until
	}
	return s.dials[0].Add(dialSpan)
}

// look checks whether a contact is at the addresses of an instance, unless it
// is already connected.
func (c *Contacts) look(scope *p2p.Scope, id identity.RemoteIdentity, at tags.Match, s *sighting) {
	ctx, cancel := context.WithTimeout(c.context(), dialSpan)
	defer cancel()
	err := c.listener.Connect(ctx, id, at.Addrs)
	if err == nil {
		if peer, ok := scope.Node().Peer(id); ok {
			told, cancel := context.WithTimeout(ctx, toldTime)
			_, _ = peer.WaitMetadata(told)
			cancel()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.checking = false
	if c.known[id] != s { // it is no longer a contact, or the mode has ended
		return
	}
	if err != nil {
		s.turn++
		s.wait = min(max(dialAgain, 2*s.wait), dialSpan)
		s.next = time.Now().Add(s.wait)
		_ = c.scope.Expired(id)
		c.scope.Logger().Debug("an instance that matched did not answer as it must", "addrs", at.Addrs)
		signal(c.wake)
		return
	}
	s.found, s.wait, s.next, s.at = true, 0, time.Time{}, at
	c.report(id, s)
	signal(c.wake)
}

// report reports a contact to the node. The caller holds mu.
func (c *Contacts) report(id identity.RemoteIdentity, s *sighting) {
	var metadata map[string]string
	if peer, ok := c.scope.Node().Peer(id); ok {
		if info := peer.Info(); info.Verified || s.found {
			metadata = info.Metadata
		}
	}
	candidates := make([]p2p.Candidate, 0, len(s.at.Addrs))
	for _, a := range s.at.Addrs {
		candidates = append(candidates, p2p.Candidate{Kind: p2p.Direct, Addr: a, Version: 2})
	}
	if err := c.scope.Discovered(id, metadata, candidates); err != nil {
		c.scope.Logger().Debug("a contact is not discovered", "cause", err)
	}
}
