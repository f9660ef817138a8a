package roster

import (
	"cmp"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// naive is the second evaluation. It was written from the rules alone, before
// its author had read the first one, and for readability instead of speed. It
// shares only the types with the package: each question is answered anew from
// the statements.
//
// Where the rules leave room, it reads them as follows:
//
//   - Number 1 of a chain counts only if it is a move, even the founder's. If
//     it is something else, the statements that follow it still count.
//   - If an instance has added more others than it has places, the first ones
//     on the branch have a place: a later add of one of these is as good as the
//     first.
//   - The signatures of a statement are those of different admins; for a
//     removal, the target's does not count. An add of the signer itself counts
//     if another add makes the signer an admin, and at most gives it a name.
//   - An endorsement is a second signature: an endorsement of an own statement
//     has no effect.
//   - If the founder has endorsed it, a statement counts whoever signed it and
//     wherever it is on a chain, unless its counter is above the limit.
//   - An instance that is no admin under the limits so far is removed like a
//     plain member, even if no add of it exists.
//   - A removal of the signer itself only cuts off the statements that follow
//     it on its branch, whatever it names and whoever has endorsed it.
//   - Of the adds with the same standing, the one with the smallest hash gives
//     the name.
//   - A founder whose number 1 states no node is no member, unless an add makes
//     it one. An instance whose last move names no node is no member, unless it
//     is the founder.
//   - A roster keeps the statements of a signer that an admin adds with a
//     statement that is kept itself. In this rule, an admin is an instance that
//     the founder or two admins made one. A signer that is no admin has no
//     places, so that its chain has 16 statements.
type naive struct {
	founder identity.RemoteIdentity
	facts   map[Hash]*fact
	taken   []naiveRemoval
}

// A fact is a statement with its decoded body, which is nil if the statement
// has no effect.
type fact struct {
	Statement
	hash, unsigned Hash
	body           Body
}

// A standing tells whose signatures are on a statement, the best first.
type standing int

const (
	ofFounder standing = iota + 1
	ofTwo
	ofOne
	ofNobody
)

type naiveRemoval struct {
	hash     Hash
	target   identity.RemoteIdentity
	standing standing
}

// A naiveMember is a member according to the second evaluation.
type naiveMember struct {
	node identity.RemoteIdentity
	role Role
	name string
}

// ancestors returns the statements before h on its branch, the nearest first.
func (n *naive) ancestors(h Hash) (out []Hash) {
	for f := n.facts[h]; f != nil && f.Counter > 1; f = n.facts[f.Previous] {
		out = append(out, f.Previous)
	}
	return out
}

// static reports whether a statement can count at all, regardless of removals.
func (n *naive) static(f *fact) bool {
	highest := uint32(16 + 4*128)
	if f.Signer == n.founder {
		highest = 16 + 4*1024
	}
	move, ok := f.body.(Move)
	if ok && move.Node.IsZero() && f.Signer != n.founder {
		return false
	}
	return f.body != nil && f.Counter <= highest && (f.Counter != 1 || ok)
}

// leaves reports whether a removal leaves a statement of its target in effect.
func (n *naive) leaves(r naiveRemoval, h Hash) bool {
	f := n.facts[r.hash]
	if f.Signer == r.target { // the target left by itself
		return !slices.Contains(n.ancestors(h), r.hash)
	}
	pin := f.body.(Remove).Last
	named, known := n.facts[pin]
	if !known || named.Signer != r.target {
		return false
	}
	return h == pin || slices.Contains(n.ancestors(pin), h)
}

// within reports whether a statement's place on its chain, and the removals of
// its signer, let it count.
func (n *naive) within(f *fact) bool {
	if !n.static(f) {
		return false
	}
	var founders, others []naiveRemoval
	for _, r := range n.taken {
		switch {
		case r.target != f.Signer:
		case r.standing == ofFounder:
			founders = append(founders, r)
		default:
			others = append(others, r)
		}
	}
	if len(founders) > 0 {
		others = nil
	}
	for _, r := range append(founders, others...) {
		if !n.leaves(r, f.hash) {
			return false
		}
	}
	return true
}

// standingOf returns the standing of an add or a removal, given the admins.
func (n *naive) standingOf(f *fact, admins map[identity.RemoteIdentity]bool) standing {
	if !n.static(f) {
		return ofNobody
	}
	signatures := map[identity.RemoteIdentity]bool{}
	if n.within(f) && admins[f.Signer] {
		signatures[f.Signer] = true
	}
	for _, e := range n.facts {
		if of, ok := e.body.(Endorse); ok && of.Of == f.unsigned && e.Signer != f.Signer && n.within(e) && admins[e.Signer] {
			signatures[e.Signer] = true
		}
	}
	if remove, ok := f.body.(Remove); ok {
		delete(signatures, remove.Instance)
	}
	switch {
	case signatures[n.founder]:
		return ofFounder
	case !signatures[f.Signer]:
		return ofNobody
	case len(signatures) > 1:
		return ofTwo
	}
	return ofOne
}

// admins returns the founder, and the instances that the adds that count make
// admins.
func (n *naive) admins() map[identity.RemoteIdentity]bool {
	admins := map[identity.RemoteIdentity]bool{n.founder: true}
	for {
		before := len(admins)
		for _, f := range n.facts {
			add, ok := f.body.(Add)
			if ok && add.Role == RoleAdmin && n.place(f) && n.standingOf(f, admins) <= ofTwo {
				admins[add.Instance] = true
			}
		}
		if len(admins) == before {
			return admins
		}
	}
}

// place reports whether an add has one of its signer's places.
func (n *naive) place(f *fact) bool {
	places := 128
	if f.Signer == n.founder {
		places = 1024
	}
	var had []identity.RemoteIdentity // instances with a place, in order
	branch := n.ancestors(f.hash)
	slices.Reverse(branch)
	for _, h := range append(branch, f.hash) {
		add, ok := n.facts[h].body.(Add)
		if ok && n.static(n.facts[h]) && !slices.Contains(had, add.Instance) {
			had = append(had, add.Instance)
		}
	}
	i := slices.Index(had, f.body.(Add).Instance)
	return i >= 0 && i < places
}

// added returns the role that an add gives, or 0 if it does not count.
func (n *naive) added(f *fact, admins map[identity.RemoteIdentity]bool) (Role, standing) {
	add, ok := f.body.(Add)
	if !ok || !n.place(f) {
		return 0, ofNobody
	}
	switch s := n.standingOf(f, admins); s {
	case ofNobody:
		return 0, s
	case ofOne:
		return RoleMember, s
	default:
		return add.Role, s
	}
}

// removes returns the standing of a removal, or ofNobody if it does not count.
func (n *naive) removes(f *fact, admins map[identity.RemoteIdentity]bool) standing {
	remove, ok := f.body.(Remove)
	switch {
	case !ok:
		return ofNobody
	case remove.Instance == f.Signer:
		if n.within(f) {
			return ofOne
		}
		return ofNobody
	}
	s := n.standingOf(f, admins)
	if s == ofOne && admins[remove.Instance] {
		return ofNobody
	}
	return s
}

// evaluate takes the removals in their order.
func (n *naive) evaluate() {
	for {
		admins := n.admins()
		var next []naiveRemoval
		for h, f := range n.facts {
			if slices.ContainsFunc(n.taken, func(r naiveRemoval) bool { return r.hash == h }) {
				continue
			}
			if s := n.removes(f, admins); s != ofNobody {
				next = append(next, naiveRemoval{hash: h, target: f.body.(Remove).Instance, standing: s})
			}
		}
		if len(next) == 0 {
			return
		}
		n.taken = append(n.taken, slices.MinFunc(next, func(a, b naiveRemoval) int {
			return cmp.Or(cmp.Compare(a.standing, b.standing), a.hash.Compare(b.hash))
		}))
	}
}

// removed reports whether an instance is removed.
func (n *naive) removed(id identity.RemoteIdentity) bool {
	return slices.ContainsFunc(n.taken, func(r naiveRemoval) bool { return r.target == id })
}

// node returns the node of an instance according to those of its moves that
// count, and the nodes according to those that have number 1.
func (n *naive) node(id identity.RemoteIdentity, counts func(*fact) bool) (node identity.RemoteIdentity, first []identity.RemoteIdentity) {
	var best *fact
	for _, f := range n.facts {
		move, ok := f.body.(Move)
		if !ok || f.Signer != id || !counts(f) {
			continue
		}
		if f.Counter == 1 {
			first = append(first, move.Node)
		}
		if best == nil || cmp.Or(cmp.Compare(best.Counter, f.Counter), f.hash.Compare(best.hash)) < 0 {
			best, node = f, move.Node
		}
	}
	if len(first) == 0 {
		node = identity.RemoteIdentity{}
	}
	return node, first
}

// in returns the instances that are members unless they are removed, with role
// and name, whether or not they have a node.
func (n *naive) in() map[identity.RemoteIdentity]naiveMember {
	admins := n.admins()
	best := map[identity.RemoteIdentity]*fact{}
	standings := map[*fact]standing{}
	in := map[identity.RemoteIdentity]naiveMember{}
	for _, f := range n.facts {
		role, s := n.added(f, admins)
		if role == 0 {
			continue
		}
		add := f.body.(Add)
		standings[f] = s
		m, b := in[add.Instance], best[add.Instance]
		if b == nil || cmp.Or(cmp.Compare(s, standings[b]), f.hash.Compare(b.hash)) < 0 {
			best[add.Instance], m.name = f, add.Name
		}
		m.role = max(m.role, role)
		in[add.Instance] = m
	}
	f, added := in[n.founder]
	_, first := n.node(n.founder, n.within)
	if added || slices.ContainsFunc(first, func(at identity.RemoteIdentity) bool { return !at.IsZero() }) {
		f.role = RoleAdmin
		in[n.founder] = f
	}
	return in
}

// former returns the removed admins, each with its node according to the
// statements that the removals left, or else according to all that it has
// signed.
func (n *naive) former() map[identity.RemoteIdentity]naiveMember {
	out := map[identity.RemoteIdentity]naiveMember{}
	for id, m := range n.in() {
		if m.role != RoleAdmin || !n.removed(id) {
			continue
		}
		m.node, _ = n.node(id, n.within)
		if m.node.IsZero() {
			m.node, _ = n.node(id, n.static)
		}
		if !m.node.IsZero() {
			out[id] = m
		}
	}
	return out
}

// members returns the members.
func (n *naive) members() map[identity.RemoteIdentity]naiveMember {
	out := map[identity.RemoteIdentity]naiveMember{}
	for id, m := range n.in() {
		m.node, _ = n.node(id, n.within)
		if !m.node.IsZero() && !n.removed(id) {
			out[id] = m
		}
	}
	for id := range out {
		for other := range out {
			a, b := id.Bytes(), other.Bytes()
			if a[31]^b[31] == 0x80 && [31]byte(a[:]) == [31]byte(b[:]) && a[31] > b[31] {
				delete(out, id) // the smaller one of A and −A stays
			}
		}
	}
	return out
}

// secret returns the present secret's statement, or nil.
func (n *naive) secret() (best *fact) {
	admins := n.admins()
	counts := map[uint64]bool{}
	for before := -1; before != len(counts); {
		before = len(counts)
		for _, f := range n.facts {
			s, ok := f.body.(Secret)
			if ok && admins[f.Signer] && n.within(f) && (s.Number == 1 || s.Number > 1 && counts[s.Number-1]) {
				counts[s.Number] = true
			}
		}
	}
	number := uint64(0)
	for c := range counts {
		number = max(number, c)
	}
	for _, f := range n.facts {
		s, ok := f.body.(Secret)
		if ok && s.Number == number && counts[number] && admins[f.Signer] && n.within(f) &&
			(best == nil || f.hash.Compare(best.hash) < 0) {
			best = f
		}
	}
	return best
}

// forked returns the signers of two statements with the same predecessor.
func (n *naive) forked() map[identity.RemoteIdentity]bool {
	out := map[identity.RemoteIdentity]bool{}
	for h, f := range n.facts {
		for o, g := range n.facts {
			if h != o && f.Signer == g.Signer && f.Previous == g.Previous && f.Counter == g.Counter {
				out[f.Signer] = true
			}
		}
	}
	return out
}

// kept returns the statements that a roster keeps: those of signers that an
// admin has added with a statement that is kept as well, regardless of
// removals, one admin's signature being enough; of a signer that is no admin,
// only numbers up to 16.
func (n *naive) kept() map[Hash]*fact {
	kept := &naive{founder: n.founder, facts: map[Hash]*fact{}}
	for {
		admins, added := kept.admins(), map[identity.RemoteIdentity]bool{n.founder: true}
		for _, f := range kept.facts {
			if role, _ := kept.added(f, admins); role != 0 {
				added[f.body.(Add).Instance] = true
			}
		}
		before := len(kept.facts)
		for h, f := range n.facts {
			if added[f.Signer] && (f.Counter <= 16 || admins[f.Signer] && f.Counter <= 16+4*128 || f.Signer == n.founder && f.Counter <= 16+4*1024) {
				kept.facts[h] = f
			}
		}
		if before == len(kept.facts) {
			return kept.facts
		}
	}
}
