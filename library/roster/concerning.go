package roster

import (
	"maps"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// Concerning returns what an instance that was removed is told: the removals of
// it that count, with what these rest on, predecessors first. A roster that
// knows some of the statements of this one, and adds these, has it removed,
// too.
//
// A removal with the founder's signature rests on the statements before it, and
// before the endorsements of it. Another one also rests on the adds that made
// its signers admins, on what these rest on, and on the removals of admins that
// were taken before it: one of its signers might be removed first without them.
// If the founder's signature is on one, the others leave no less, and are not
// told.
func (r *Roster) Concerning(instance identity.RemoteIdentity) Statements {
	g := &r.known
	e := newEvaluation(g)
	slices.SortFunc(e.adds, compareNodes) // so that all devices tell the same
	e.findAdmins()
	k := (&evaluation{g: g, adds: e.adds}).keeping()
	founders, all, left := newBasis(k), newBasis(k), newBasis(k)
	var others map[*node]bool // what all had when a removal was taken that is told
	e.taking = func(n *node) {
		target := n.body.(Remove).Instance
		byOthers := target == instance && n.Signer != instance
		switch {
		case byOthers && e.weigh(n) == byFounder:
			founders.removal(n, e)
		case target == instance && !byOthers:
			left.removal(n, e)
		}
		if byOthers || e.admin(target) {
			all.removal(n, e)
		}
		if byOthers {
			others = maps.Clone(all.nodes)
		}
	}
	e.takeRemovals()
	told := left.nodes
	if len(founders.nodes) > 0 {
		told = founders.nodes
	} else if others != nil {
		told = others
	}
	return statements(slices.SortedFunc(maps.Keys(told), compareNodes))
}

// A basis is statements that some of them rest on.
type basis struct {
	keeping
	nodes map[*node]bool
	done  map[*node]bool // those whose signatures were looked at
}

func newBasis(k keeping) *basis {
	return &basis{keeping: k, nodes: map[*node]bool{}, done: map[*node]bool{}}
}

// branch adds a statement and those before it.
func (b *basis) branch(n *node) {
	for ; n != nil && !b.nodes[n]; n = n.parent {
		b.nodes[n] = true
	}
}

// removal adds a removal, and what it leaves of its target.
func (b *basis) removal(n *node, e *evaluation) {
	if n.Signer == n.removes() {
		b.branch(n)
		b.keeps(n.Signer)
		return
	}
	b.statement(n, e)
	if pin := e.last(n); pin != nil {
		b.branch(pin)
		if e.admin(pin.Signer) {
			b.admin(pin.Signer, e)
		} else {
			b.keeps(pin.Signer)
		}
	}
}

// statement adds a statement and what it counts by: the founder's signature, or
// else those of admins.
func (b *basis) statement(n *node, e *evaluation) {
	if b.done[n] {
		return
	}
	b.done[n] = true
	b.branch(n)
	byFounder := e.weigh(n) == byFounder
	if byFounder {
		b.keeps(n.Signer)
	} else {
		b.admin(n.Signer, e)
	}
	for _, second := range e.seconds(n) {
		if !byFounder || second.Signer == e.g.founder {
			b.branch(second)
			b.admin(second.Signer, e)
		}
	}
}

// admin adds what makes somebody an admin, which also keeps its statements.
func (b *basis) admin(id identity.RemoteIdentity, e *evaluation) {
	if add := e.admins[id]; add != nil {
		b.statement(add, e)
	}
}

// keeps adds what makes a roster keep somebody's statements.
func (b *basis) keeps(id identity.RemoteIdentity) {
	if add := b.writers[id]; add != nil {
		b.statement(add, b.evaluation)
	}
}
