package main

import (
	"math"
	"slices"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
)

// A standing is the standing of an author. The zero standing means that the
// roster has the author neither as a member nor as a removed one.
type standing struct {
	id     identity.RemoteIdentity
	member bool
	counts uint64 // number of its operations that count, from the first one
}

// everything says that all operations of an author count.
const everything = math.MaxUint64

// A revocation is an admin's statement on how many operations of a removed
// member count.
type revocation struct {
	by      Author
	number  uint64 // of the operation
	removal roster.Hash
	count   uint64
}

// stand returns the standing of all authors, and the removed ones on which a
// present admin has made a statement. Both are pure functions of the roster and
// of the revocations, those of each author in its order: devices with the same
// statements and operations agree.
//
// The roster alone decides which members are removed. All operations of a
// member count, and none of others: strangers, and members that were lost
// together with the admin that had added them. The number that counts of a
// removed member is the smallest that a present admin has stated. If no present
// admin has, removed admins are consulted, in the order in which the roster
// took their removals, as far as their own operations count by then; and if
// nobody has stated a number, all count for now.
//
// A revocation names the statement that removed its target, and is void if that
// statement does not count: so a member that returns has everything it wrote,
// and a thief's revocations are undone with its removals. Of an admin's
// revocations about a statement the first counts: a thief cannot alter those of
// the key's owner. An author's revocation of itself does not count.
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
	former := map[Author][]revocation{} // by removed admins, by target
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

// Unsettled returns removals without a revocation: own are those that this
// device has signed and not revoked, and others those about whose target no
// present admin has made a statement.
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

// Revoke states that the operations of a removed member that count here now do
// count, and no later ones. It fails with [library.ErrNotAdmin].
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
