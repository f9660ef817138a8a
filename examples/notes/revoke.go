package main

import (
	"math"
	"slices"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
)

// A standing is how an author stands: not at all, which is its zero value, if
// the roster has it neither as a member nor as one that was removed.
type standing struct {
	id     identity.RemoteIdentity
	member bool
	counts uint64 // how many of its operations, from the first one
}

// everything says that all operations of an author count.
const everything = math.MaxUint64

// A revocation is an admin's word on how many operations count of somebody who
// was removed.
type revocation struct {
	by      Author
	number  uint64 // of the operation
	removal roster.Hash
	count   uint64
}

// stand says how all authors stand, and of which removed ones an admin that is
// in has given its word. Both are pure functions of the roster and of the
// revocations, those of an author in its order: devices with the same
// statements and operations agree.
//
// Who is removed, the roster alone decides. Of a member all operations count,
// of others none: a stranger's, or those of somebody who fell out together with
// the admin that had added it. Of somebody who was removed as many count as the
// admins say that are in: of several the smallest number. If none of them has
// said anything, admins that were removed are heard, in the order in which the
// roster took their removals, as far as their own operations count by then; and
// if nobody has said anything, all count for now.
//
// A revocation names the statement that removed its target, and means nothing
// where that statement does not count: so somebody who comes back has all it
// wrote, and the word of a thief falls with what it did. Of one admin the first
// word on a statement counts: a thief cannot alter what the owner of its key
// had said. Nobody has a say about itself.
func stand(v *roster.View, said []revocation) (all map[Author]standing, settled map[Author]bool) {
	all, settled = map[Author]standing{}, map[Author]bool{}
	removed := map[roster.Hash]Author{}
	for _, r := range v.Removals {
		removed[r.Hash] = author(r.Instance)
		all[author(r.Instance)] = standing{id: r.Instance, counts: everything}
	}
	for _, m := range v.Members {
		all[author(m.Instance)] = standing{id: m.Instance, member: true, counts: everything}
	}
	narrow := func(r revocation) {
		who := removed[r.removal]
		s := all[who]
		s.counts = min(s.counts, r.count)
		all[who] = s
	}
	former := map[Author][]revocation{} // by admins that were removed, by whom they are about
	for _, r := range said {
		by := all[r.by]
		switch who, ok := removed[r.removal]; {
		case !ok || who == r.by || !v.WasAdmin(by.id):
		case by.member:
			narrow(r)
			settled[who] = true
		default:
			former[who] = append(former[who], r)
		}
	}
	for _, removal := range v.Removals {
		who := author(removal.Instance)
		for _, r := range former[who] {
			if !settled[who] && r.number <= all[r.by].counts {
				narrow(r)
			}
		}
		delete(former, who) // it may have been removed twice
	}
	return all, settled
}

// Unsettled returns removals of which nobody has said yet how many operations
// count: those that this device has signed and given no word on, and others on
// whose target no admin has that is in.
func (s *Store) Unsettled() (own, others []roster.Removal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.roster.Removals {
		switch {
		case author(r.By) == s.self && r.By != r.Instance:
			if !slices.ContainsFunc(s.said, func(o revocation) bool { return o.by == s.self && o.removal == r.Hash }) {
				own = append(own, r)
			}
		case !s.settled[author(r.Instance)]:
			others = append(others, r)
		}
	}
	return own, others
}

// Revoke says that of somebody who was removed those operations count that
// count here now, and none that come later. It fails with
// [library.ErrNotAdmin].
func (s *Store) Revoke(r roster.Removal) error {
	if !s.library.Roster().Admin(s.library.Instance()) {
		return library.ErrNotAdmin
	}
	return s.write(func() []Op {
		who := author(r.Instance)
		count := s.standing[who].counts
		if count == everything {
			count = uint64(len(s.history(who).at))
		}
		return []Op{{Kind: revoke, Removal: r.Hash, Count: count, Stamp: s.clock.Tick()}}
	})
}
