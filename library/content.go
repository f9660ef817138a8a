package library

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/tunnel"
)

// A content is a record with everything derived from it. It is never modified.
type content struct {
	record Record
	roster *roster.Roster
	view   *roster.View
	digest roster.Hash // of the statements

	out     bool     // this device is no longer a member
	left    bool     // by its own statement
	leavers []Member // other admins that have left, and were not removed by others
	members map[identity.RemoteIdentity]*peer
	byKey   map[[32]byte]*peer // by the Montgomery form of the instance's key
	order   []*peer            // members, the longest-standing first

	present *tunnel.Credential
	former  []*tunnel.Credential // one for each former secret
}

// A peer is a member, or an admin that was removed, with whom statements are
// exchanged and nothing else.
type peer struct {
	Member
	out bool
}

// compile derives the content from a record. It keeps the credentials of
// secrets that stay: a responder may be about to use them.
func (l *Library) compile(r Record, all *roster.Roster, before *content) (*content, error) {
	r.tidy()
	c := &content{
		record: r, roster: all, view: all.View(), digest: digest(all.Ends()),
		members: map[identity.RemoteIdentity]*peer{}, byKey: map[[32]byte]*peer{},
	}
	if n := len(c.view.Members); n > MaxMembers {
		return nil, fmt.Errorf("%w: library %v: %d members, of %d", ErrInvalid, r.ID, n, MaxMembers)
	}
	own := l.instance.Remote()
	_, in := c.view.Member(own)
	c.out = !in
	for _, r := range c.view.Removals {
		switch {
		case r.By != r.Instance:
		case r.Instance == own:
			c.left = true
		case c.view.Admin(own) && leftAlone(c.view, r.Instance):
			c.leavers = append(c.leavers, former(c.view, r.Instance))
		}
	}
	for _, m := range c.view.Members {
		c.enter(&peer{Member: m}, own)
	}
	for _, m := range c.view.Former {
		c.enter(&peer{Member: m, out: true}, own)
	}
	slices.SortStableFunc(c.order, func(a, b *peer) int { return a.Added.Compare(b.Added) })
	c.present = l.credential(r.Secret, before)
	for _, f := range r.Former {
		c.former = append(c.former, l.credential(f.Secret, before))
	}
	return c, nil
}

// leftAlone reports whether an admin has left and was not removed by others,
// too.
func leftAlone(v *roster.View, instance identity.RemoteIdentity) bool {
	by := func(self bool) func(roster.Removal) bool {
		return func(r roster.Removal) bool { return r.Instance == instance && (r.By == instance) == self }
	}
	return v.WasAdmin(instance) && slices.ContainsFunc(v.Removals, by(true)) && !slices.ContainsFunc(v.Removals, by(false))
}

// enter adds a peer, unless it is this device or is blocked.
func (c *content) enter(p *peer, own identity.RemoteIdentity) {
	u, err := p.Instance.X25519()
	if p.Instance == own || c.record.blocked(p.Instance) || err != nil || c.byKey[[32]byte(u.Bytes())] != nil {
		return
	}
	c.members[p.Instance], c.byKey[[32]byte(u.Bytes())] = p, p
	if !p.out {
		c.order = append(c.order, p)
	}
}

// credential returns the credential of a secret.
func (l *Library) credential(s Secret, before *content) *tunnel.Credential {
	if before != nil {
		if before.record.Secret == s {
			return before.present
		}
		for i, f := range before.record.Former {
			if f.Secret == s {
				return before.former[i]
			}
		}
	}
	return tunnel.NewCredential(l.id, l.instance, s.Bytes())
}

// credentials returns the credentials to try with a member: first that of the
// secret that the member had last, then the present one, then the former ones,
// the newest first.
func (c *content) credentials(last Secret) []*tunnel.Credential {
	var all []*tunnel.Credential
	for i := len(c.record.Former) - 1; i >= 0; i-- {
		switch f := c.record.Former[i]; {
		case !time.Now().Before(f.Until):
		case f.Secret == last && last != c.record.Secret:
			all = slices.Insert(all, 0, c.former[i], c.present)
		default:
			all = append(all, c.former[i])
		}
	}
	if !slices.Contains(all, c.present) {
		all = slices.Insert(all, 0, c.present)
	}
	return all
}

// secretOf returns the secret of one of our credentials, if the secret is
// accepted.
func (c *content) secretOf(with *tunnel.Credential) (Secret, bool) {
	if with == c.present {
		return c.record.Secret, true
	}
	i := slices.Index(c.former, with)
	if i < 0 || !time.Now().Before(c.record.Former[i].Until) {
		return Secret{}, false
	}
	return c.record.Former[i].Secret, true
}

// digest returns a hash that is the same for two rosters with the same
// statements.
func digest(ends roster.Ends) roster.Hash {
	b, err := ends.AppendBinary(nil)
	if err != nil {
		return roster.Hash{} // more branches than can be exchanged
	}
	return sha256.Sum256(b)
}
