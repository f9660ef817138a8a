package roster

import (
	"cmp"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// A weight is how much the signatures on a statement weigh. Greater is more.
type weight int

const (
	unsupported weight = iota // nothing
	byOne                     // one admin, or the target itself
	byTwo                     // two admins
	byFounder
)

// An evaluation decides which statements of a graph count. Removals are taken one
// by one; each narrows the limit of its target.
type evaluation struct {
	g       *graph
	adds    []*node
	removes []*node
	admins  map[identity.RemoteIdentity]bool // with the founder, removed or not
	limits  map[identity.RemoteIdentity]*limit
	taken   []*node // removals that count, in order
}

// A limit is what removals leave of the statements of their target.
type limit struct {
	founder, others map[*node]bool // what all of them leave; nil: there is none
	ended           []*node        // where the target removed itself
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
	for _, n := range e.g.nodes {
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

// findAdmins finds who is an admin under the limits so far: those that the
// founder or two admins made one.
func (e *evaluation) findAdmins() {
	e.admins = map[identity.RemoteIdentity]bool{e.g.founder: true}
	for more := true; more; {
		more = false
		for _, n := range e.adds {
			a := n.body.(Add)
			if a.Role == RoleAdmin && !e.admins[a.Instance] && e.weigh(n) >= byTwo {
				e.admins[a.Instance], more = true, true
			}
		}
	}
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
	if l.others != nil && !l.others[n] {
		return false
	}
	return !slices.ContainsFunc(l.ended, func(end *node) bool { return n != end && end.before(n) })
}

// before reports whether n lies on the branch to o, or is o.
func (n *node) before(o *node) bool {
	for ; o != nil && o.Counter >= n.Counter; o = o.parent {
		if o == n {
			return true
		}
	}
	return false
}

// counts reports whether a statement counts as an admin's on the removal of
// target; zero: on anything else.
func (e *evaluation) counts(n *node, target identity.RemoteIdentity) bool {
	return e.admins[n.Signer] && n.Signer != target && e.within(n)
}

// weigh weighs the signatures on an add or a removal. Nobody's counts on the
// removal of itself; on the add of itself it counts if it is an admin without
// that. A second one counts for nothing without the signer's, unless it is the
// founder's.
func (e *evaluation) weigh(n *node) weight {
	var target identity.RemoteIdentity
	if r, ok := n.body.(Remove); ok {
		target = r.Instance
	}
	own := e.counts(n, target)
	if own && n.Signer == e.g.founder {
		return byFounder
	}
	w := unsupported
	if own {
		w = byOne
	}
	for _, second := range e.g.endorsed[n.unsigned] {
		switch {
		case second.Signer == n.Signer || !e.counts(second, target):
		case second.Signer == e.g.founder:
			return byFounder
		case own:
			w = byTwo
		}
	}
	return w
}

// weighRemoval weighs the signatures on a removal, and returns unsupported if they
// do not suffice for its target.
func (e *evaluation) weighRemoval(n *node) weight {
	target := n.body.(Remove).Instance
	if target == n.Signer {
		if e.within(n) {
			return byOne
		}
		return unsupported
	}
	w := e.weigh(n)
	if w == byOne && e.admins[target] {
		return unsupported
	}
	return w
}

// takeRemovals takes the removals that count: always the first of those that do
// under the limits so far.
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
		stale := false // the limit of somebody whose signature counts has changed
		for _, r := range next {
			if e.weighRemoval(r.n) != r.w { // a removal of the signer itself, which is limited now
				stale = true
				break
			}
			done[r.n] = true
			e.taken = append(e.taken, r.n)
			e.narrow(r.n)
			if e.admins[r.n.body.(Remove).Instance] {
				stale = true
				break
			}
		}
		if !stale {
			return
		}
		e.findAdmins()
	}
}

// narrow sets the limit of a removal's target.
func (e *evaluation) narrow(n *node) {
	r := n.body.(Remove)
	l := e.limits[r.Instance]
	if l == nil {
		l = &limit{}
		e.limits[r.Instance] = l
	}
	if r.Instance == n.Signer {
		l.ended = append(l.ended, n)
		return
	}
	left := map[*node]bool{}
	for last := e.last(n); last != nil; last = last.parent {
		left[last] = true
	}
	set := &l.others
	if e.weigh(n) == byFounder {
		set = &l.founder
	}
	if *set == nil {
		*set = left
		return
	}
	for m := range *set {
		if !left[m] {
			delete(*set, m)
		}
	}
}

// last returns the statement that a removal names as the last of its target, or
// nil if it is not known, or somebody else's.
func (e *evaluation) last(n *node) *node {
	r := n.body.(Remove)
	if last := e.g.nodes[r.Last]; last != nil && last.Signer == r.Instance {
		return last
	}
	return nil
}
