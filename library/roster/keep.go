package roster

import (
	"cmp"
	"sync"

	"github.com/sdp2p/p2p/identity"
)

// A keeping says which signers' statements a roster keeps, and how many.
type keeping struct {
	*evaluation // without removals, and only of statements that are kept
	// writers are the signers whose statements are kept: the founder, and
	// instances that an admin added with a statement that is kept. The value is
	// such a statement, nil for the founder.
	writers map[identity.RemoteIdentity]*node
}

// keeping returns the keeping that follows from the statements in the graph.
func (g *graph) keeping() keeping {
	e := &evaluation{g: g}
	e.sort()
	return e.keeping()
}

func (e *evaluation) keeping() keeping {
	e.admins = map[identity.RemoteIdentity]*node{e.g.founder: nil}
	k := keeping{e, map[identity.RemoteIdentity]*node{e.g.founder: nil}}
	for more := true; more; {
		more = false
		for _, n := range e.adds {
			a := n.body.(Add)
			_, known := k.writers[a.Instance]
			promotes := a.Role == RoleAdmin && !e.admin(a.Instance)
			if known && !promotes || n.Counter > k.length(n.Signer) {
				continue
			}
			w := e.weigh(n)
			if w > unsupported && !known {
				k.writers[a.Instance], more = n, true
			}
			if w >= byTwo && promotes {
				e.admins[a.Instance], more = n, true
			}
		}
	}
	return k
}

// length returns the maximum length of a signer's branches.
func (k keeping) length(id identity.RemoteIdentity) uint32 {
	if k.admin(id) {
		return chainLength(places(id, k.g.founder))
	}
	if _, ok := k.writers[id]; ok {
		return chainLength(0)
	}
	return 0
}

// take adds nodes, predecessors first, and returns the statements of those that
// were not passed over.
func (r *Roster) take(fresh []*node) []Statement { return r.install(r.choose(fresh)) }

// install replaces the known graph, if anything is new.
func (r *Roster) install(next graph, taken []*node) (added []Statement) {
	if len(taken) > 0 {
		r.set(next)
	}
	for _, n := range taken {
		added = append(added, n.Statement)
	}
	return added
}

// choose returns the nodes that are not passed over, in their order, and the
// graph with them. A node that is passed over may have been the reason for
// taking another one, so choose repeats until it takes all that are left.
func (r *Roster) choose(fresh []*node) (next graph, taken []*node) {
	for {
		all := r.known.with(fresh)
		k, named := all.keeping(), sync.OnceValue(all.named)
		next, taken = r.known.clone(), nil
		for _, n := range fresh {
			if (n.parent == nil || next.nodes[n.parent.hash] != nil) && next.room(n, int(k.length(n.Signer)), named) {
				next.add(n)
				taken = append(taken, n)
			}
		}
		if len(taken) == len(fresh) {
			return next, taken
		}
		fresh = taken
	}
}

// room reports whether there is room for a statement of a signer whose branches
// may have the given length.
func (g *graph) room(n *node, length int, named func() map[*node]bool) bool {
	switch {
	case int(n.Counter) > length:
		return false
	case len(g.chains[n.Signer]) <= 2*length:
		return true
	}
	return n.parent == g.last(n.Signer) || named()[n]
}

// named returns the statements that removals leave of their targets by naming
// the last one. It considers removals that count.
func (g *graph) named() map[*node]bool {
	named := map[*node]bool{}
	e := newEvaluation(g)
	e.takeRemovals()
	for _, n := range e.taken {
		if n.Signer != n.removes() {
			for last := e.last(n); last != nil; last = last.parent {
				named[last] = true
			}
		}
	}
	return named
}

// byRank orders nodes for an exchange: the founder's, then those of admins,
// then those of members. If not all fit, the last are left out.
func (k keeping) byRank(a, b *node) int {
	rank := func(n *node) int {
		switch {
		case n.Signer == k.g.founder:
			return 0
		case k.admin(n.Signer):
			return 1
		}
		return 2
	}
	return cmp.Compare(rank(a), rank(b))
}
