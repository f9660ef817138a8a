package roster

import (
	"maps"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// Concerning returns the statements that a removed instance is told: the
// removals of it that count, with the statements that these rest on,
// predecessors first. Any roster that consists of statements of this one and
// adds these has removed the instance, too.
//
// A removal with the founder's signature rests on the statements before it and
// before its endorsements. Any other also rests on the adds that made its
// signers admins, on the statements that these rest on, and on the removals of
// admins that were taken before it: without them, one of its signers might be
// removed first. If one has the founder's signature, the others change nothing,
// and are not told.
func (r *Roster) Concerning(instance identity.RemoteIdentity) Statements {
	g := &r.known
	e := newEvaluation(g)
	slices.SortFunc(e.adds, compareNodes) // so that all devices tell the same statements
	e.findAdmins()
	k := (&evaluation{g: g, adds: e.adds}).keeping()
	founders, all, left := newBasis(k), newBasis(k), newBasis(k)
	var others map[*node]bool // the limits at the time when a told removal was taken
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

// A basis is a set of statements with those that they rest on.
type basis struct {
	keeping
	nodes map[*node]bool
	done  map[*node]bool // those whose signatures have been considered
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

// removal adds a removal, and the statements of its target that it leaves.
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

// statement adds a statement and the signatures that make it count: the
// founder's, or else those of admins.
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

// admin adds the statements that make an instance an admin, which also make
// rosters keep its statements.
func (b *basis) admin(id identity.RemoteIdentity, e *evaluation) {
	if add := e.admins[id]; add != nil {
		b.statement(add, e)
	}
}

// keeps adds the statements that make a roster keep an instance's statements.
func (b *basis) keeps(id identity.RemoteIdentity) {
	if add := b.writers[id]; add != nil {
		b.statement(add, b.evaluation)
	}
}
