package main

import (
	"math"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
)

// A standing is how an author stands: not at all, which is its zero value, if the
// roster has it neither as a member nor as one that was removed.
type standing struct {
	id     identity.RemoteIdentity
	member bool
	counts uint64 // how many of its operations, from the first one
}

// everything says that all operations of an author count.
const everything = math.MaxUint64

// A revocation is an admin's word on how many operations count of somebody who was
// removed.
type revocation struct {
	by      Author
	number  uint64 // of the operation
	removal roster.Hash
	count   uint64
}

// stand says how all authors stand, and of which removed ones an admin that is in
// has given its word. Both are pure functions of the roster and of the revocations,
// those of an author in its order: devices with the same statements and operations
// agree.
//
// Who is removed, the roster alone decides. Of a member all operations count, of
// others none: a stranger's, or those of somebody who fell out together with the
// admin that had added it. Of somebody who was removed as many count as the admins
// say that are in: of several the smallest number. If none of them has said
// anything, admins that were removed are heard, in the order in which the roster
// took their removals, as far as their own operations count by then; and if nobody
// has said anything, all count for now.
//
// A revocation names the statement that removed its target, and means nothing
// where that statement does not count: so somebody who comes back has all it wrote,
// and the word of a thief falls with what it did. Of one admin the first word on
// a statement counts: a thief cannot alter what the owner of its key had said. Nobody
// has a say about itself.
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
