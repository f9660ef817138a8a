package roster

import (
	"cmp"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// A weight is the weight of the signatures on a statement. Greater is more.
type weight int

const (
	unsupported weight = iota // nothing
	byOne                     // one admin, or the target itself
	byTwo                     // two admins
	byFounder
)

// An evaluation decides which statements of a graph count. Removals are taken
// one by one; each narrows the limit of its target.
type evaluation struct {
	g       *graph
	adds    []*node
	removes []*node
	admins  map[identity.RemoteIdentity]*node // with the add that made it an admin; nil for the founder
	limits  map[identity.RemoteIdentity]*limit
	taken   []*node     // removals that count, in order
	taking  func(*node) // is called before each is taken; may be nil
}

// A limit is the set of their target's statements that removals leave.
type limit struct {
	founder, others map[*node]bool // statements that all of them leave; nil: no removal
	ended           map[*node]bool // statements after the target's removal of itself
}

// newEvaluation returns an evaluation without any removal.
func newEvaluation(g *graph) *evaluation {
	e := &evaluation{g: g, limits: map[identity.RemoteIdentity]*limit{}}
	e.sort()
	e.findAdmins()
	return e
}

// sort finds the adds and the removals.
func (e *evaluation) sort() {
	for _, n := range e.g.order {
		switch n.body.(type) {
		case Add:
			if n.placed {
				e.adds = append(e.adds, n)
			}
		case Remove:
			e.removes = append(e.removes, n)
		}
	}
}

// findAdmins finds the admins under the limits so far: the instances that the
// founder or two admins made admins.
func (e *evaluation) findAdmins() {
	e.admins = map[identity.RemoteIdentity]*node{e.g.founder: nil}
	for more := true; more; {
		more = false
		for _, n := range e.adds {
			a := n.body.(Add)
			if a.Role == RoleAdmin && !e.admin(a.Instance) && e.weigh(n) >= byTwo {
				e.admins[a.Instance], more = n, true
			}
		}
	}
}

// admin reports whether an instance is an admin under the limits so far.
func (e *evaluation) admin(id identity.RemoteIdentity) bool {
	_, ok := e.admins[id]
	return ok
}

// within reports whether a statement is within its signer's limit.
func (e *evaluation) within(n *node) bool {
	l := e.limits[n.Signer]
	if l == nil {
		return true
	}
	if l.founder != nil {
		return l.founder[n]
	}
	return (l.others == nil || l.others[n]) && !l.ended[n]
}

// counts reports whether a statement counts as an admin's signature on the
// removal of target or, if target is zero, on anything else.
func (e *evaluation) counts(n *node, target identity.RemoteIdentity) bool {
	return e.admin(n.Signer) && n.Signer != target && e.within(n)
}

// weigh weighs the signatures on an add or a removal. A signature does not
// count on the removal of its own signer; on the add of its own signer, it
// counts if the signer is an admin without that add. A second signature counts
// only if the signer's does, unless it is the founder's.
func (e *evaluation) weigh(n *node) weight {
	own := e.counts(n, n.removes())
	if own && n.Signer == e.g.founder {
		return byFounder
	}
	w := unsupported
	if own {
		w = byOne
	}
	for _, second := range e.seconds(n) {
		switch {
		case second.Signer == e.g.founder:
			return byFounder
		case own:
			w = byTwo
		}
	}
	return w
}

// seconds returns the endorsements that count of a statement.
func (e *evaluation) seconds(n *node) []*node {
	all := e.g.endorsed[n.unsigned]
	if len(all) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(all), func(second *node) bool {
		return second.Signer == n.Signer || !e.counts(second, n.removes())
	})
}

// removes returns the instance that a statement removes, or zero.
func (n *node) removes() identity.RemoteIdentity {
	r, _ := n.body.(Remove)
	return r.Instance
}

// weighRemoval weighs the signatures on a removal, and returns unsupported if
// they do not suffice for its target.
func (e *evaluation) weighRemoval(n *node) weight {
	target := n.body.(Remove).Instance
	if target == n.Signer {
		if e.within(n) {
			return byOne
		}
		return unsupported
	}
	w := e.weigh(n)
	if w == byOne && e.admin(target) {
		return unsupported
	}
	return w
}

// takeRemovals takes the removals that count, always the first of those that
// count under the limits so far.
func (e *evaluation) takeRemovals() {
	done := map[*node]bool{}
	for {
		type removal struct {
			n *node
			w weight
		}
		var next []removal
		for _, n := range e.removes {
			if w := e.weighRemoval(n); w != unsupported && !done[n] {
				next = append(next, removal{n, w})
			}
		}
		slices.SortFunc(next, func(a, b removal) int { return cmp.Or(cmp.Compare(b.w, a.w), a.n.hash.Compare(b.n.hash)) })
		stale := false // an admin's limit has changed
		for _, r := range next {
			if e.weighRemoval(r.n) == unsupported { // its signer has left, and has been limited
				continue
			}
			if e.taking != nil {
				e.taking(r.n)
			}
			done[r.n] = true
			e.taken = append(e.taken, r.n)
			if stale = e.narrow(r.n) && e.admin(r.n.removes()); stale {
				break
			}
		}
		if !stale {
			return
		}
		e.findAdmins()
	}
}

// narrow sets the limit of a removal's target, and reports whether that has
// excluded any of its statements.
func (e *evaluation) narrow(n *node) bool {
	target, weight := n.removes(), e.weigh(n)
	within := slices.DeleteFunc(slices.Clone(e.g.chains[target]), func(m *node) bool { return !e.within(m) })
	l := e.limits[target]
	if l == nil {
		l = &limit{ended: map[*node]bool{}}
		e.limits[target] = l
	}
	switch {
	case target == n.Signer:
		for _, m := range e.g.chains[target] { // predecessors first
			if p := m.parent; p != nil && (p == n || l.ended[p]) {
				l.ended[m] = true
			}
		}
	case weight == byFounder:
		l.founder = e.left(n, l.founder)
	default:
		l.others = e.left(n, l.others)
	}
	return slices.ContainsFunc(within, func(m *node) bool { return !e.within(m) })
}

// left returns the statements that a removal leaves of those that others have
// left, or of all if of is nil.
func (e *evaluation) left(n *node, of map[*node]bool) map[*node]bool {
	left := map[*node]bool{}
	for last := e.last(n); last != nil; last = last.parent {
		if of == nil || of[last] {
			left[last] = true
		}
	}
	return left
}

// last returns the statement that a removal names as the last of its target, or
// nil if that is not known, or not the target's.
func (e *evaluation) last(n *node) *node {
	r := n.body.(Remove)
	if last := e.g.nodes[r.Last]; last != nil && last.Signer == r.Instance {
		return last
	}
	return nil
}
