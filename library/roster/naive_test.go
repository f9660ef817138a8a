package roster

import (
	"cmp"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// The second evaluation: written from the rules alone, before the first one was
// read, and as slowly as it reads best. It shares the types with the package
// and nothing else: every question is answered from the statements anew.
//
// Where the rules leave room, this is how it reads them:
//
//   - A chain's number 1 counts only as a move, also the founder's. What
//     follows one that is something else counts as if it were one.
//   - Of an instance with more places than it may use, the first ones on the
//     branch have theirs: a later add of one of these is as good as the first.
//   - The signatures of a statement are those of different admins; on a
//     removal, without the one whom it is about. An add of itself counts if the
//     signer is an admin by another one, and gives it a name at most.
//   - An endorsement is a second signature: of an own statement it counts for
//     nothing.
//   - With the founder's yes, a statement counts no matter who signed it and
//     wherever on its chain, except above the counter's limit.
//   - What is no admin under the limits so far is removed like a member, also
//     if nobody has added it.
//   - A removal of itself only cuts off what follows it on its branch, whatever
//     it names and no matter who agreed to it.
//   - Names: of the adds with the same standing, that with the smallest hash.
//   - A founder that lives nowhere, by its number 1, is no member, unless
//     somebody adds it. Nobody is a member whose last move names no node; the
//     founder's may.
//   - A roster keeps the statements of a signer whom an admin adds with a
//     statement that is kept itself. An admin is here whom the founder made
//     one, or two admins did. Somebody who is none has no places, so that its
//     chain has 16 statements.
type naive struct {
	founder identity.RemoteIdentity
	facts   map[Hash]*fact
	taken   []naiveRemoval
}

// A fact is a statement with what it says, nil for nothing.
type fact struct {
	Statement
	hash, unsigned Hash
	body           Body
}

// standing is whose signatures are on a statement, the best first.
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

// naiveMember is what the second evaluation says about a member.
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

// static reports whether a statement may count at all, limits of removals not
// looked at.
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

// leaves reports whether a removal leaves a statement of its target.
func (n *naive) leaves(r naiveRemoval, h Hash) bool {
	f := n.facts[r.hash]
	if f.Signer == r.target { // it left
		return !slices.Contains(n.ancestors(h), r.hash)
	}
	pin := f.body.(Remove).Last
	named, known := n.facts[pin]
	if !known || named.Signer != r.target {
		return false
	}
	return h == pin || slices.Contains(n.ancestors(pin), h)
}

// within reports whether a statement counts as far as it is up to its signer's
// chain and the removals of the signer.
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

// standingOf returns whose signatures are on an add or a removal, if these are
// the admins.
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

// admins returns the founder and whom the adds that count make an admin.
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
	var had []identity.RemoteIdentity // those with a place, in order
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

// removes returns the standing of a removal, ofNobody if it does not count.
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

// node returns where an instance lives by those of its moves that count, and
// where those with number 1 say so.
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

// in returns who belongs to the library unless it is removed, with the role and
// the name, wherever it lives.
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

// former returns the admins that were removed: with the node of the statements
// that the removals left, or else of all that they have signed.
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

// members returns who belongs to the library.
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
				delete(out, id) // A and −A, of which the other is smaller
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

// forked returns the signers of two statements with one predecessor.
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

// kept returns what a roster keeps of the statements: of those whom an admin
// has added with one that is kept, removals not looked at, one admin's
// signature being enough; of somebody who is no admin, those with numbers up to
// 16.
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
