package roster

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/text"
)

// A View is the result of evaluating a roster's statements. It must not be
// modified.
type View struct {
	// Members are the members of the library, by instance.
	Members []Member
	// Former are the removed admins, by instance, so that they can be told and
	// their statements fetched. The node follows from the statements that
	// removals left them, or from all if none are left.
	Former []Member
	// Removals are the removals that count, in the order in which they were
	// taken.
	Removals []Removal
	// Secrets are the secrets that count, the present one last.
	Secrets []Secret
	// Forked are signers with two statements that follow the same one: their
	// key is used by two devices, or was restored from a backup.
	Forked []identity.RemoteIdentity

	admins  map[identity.RemoteIdentity]bool
	removed map[identity.RemoteIdentity]bool
}

// A Member is a member, as described by the statements.
type Member struct {
	Instance identity.RemoteIdentity
	Node     identity.RemoteIdentity // where it lives
	Name     string                  // fit to be shown
	Role     Role
	Added    time.Time // when the statement with its name was signed
	By       identity.RemoteIdentity
}

// A Removal is a removal that counts.
type Removal struct {
	Instance identity.RemoteIdentity
	By       identity.RemoteIdentity // Instance itself, if it left
	Last     Hash                    // its last statement that counts, according to By
	At       time.Time
	Hash     Hash // of the statement
}

// Member returns the member with the given instance.
func (v *View) Member(instance identity.RemoteIdentity) (Member, bool) {
	i, ok := slices.BinarySearchFunc(v.Members, instance, func(p Member, id identity.RemoteIdentity) int { return compareKeys(p.Instance, id) })
	if !ok {
		return Member{}, false
	}
	return v.Members[i], true
}

// Admin reports whether an instance may add and remove members: the founder, or
// an admin that was not removed.
func (v *View) Admin(instance identity.RemoteIdentity) bool {
	return v.admins[instance] && !v.removed[instance]
}

// Removed reports whether an instance was removed.
func (v *View) Removed(instance identity.RemoteIdentity) bool { return v.removed[instance] }

// WasAdmin reports whether an instance is an admin, removed or not.
func (v *View) WasAdmin(instance identity.RemoteIdentity) bool { return v.admins[instance] }

// View evaluates the statements.
func (r *Roster) View() *View {
	if r.view == nil {
		return &View{}
	}
	return r.view()
}

func (g *graph) evaluate() *View {
	e := newEvaluation(g)
	e.takeRemovals()
	v := &View{admins: map[identity.RemoteIdentity]bool{}, removed: map[identity.RemoteIdentity]bool{}}
	for id := range e.admins {
		v.admins[id] = true
	}
	for _, n := range e.taken {
		r := n.body.(Remove)
		v.removed[r.Instance] = true
		v.Removals = append(v.Removals, Removal{Instance: r.Instance, By: n.Signer, Last: r.Last, At: n.At(), Hash: n.hash})
	}
	v.Members, v.Former = e.members(v.removed)
	v.Secrets = e.secrets()
	v.Forked = g.forked()
	return v
}

// names returns the instances added by adds that count, each with the add that
// its name is from; nil for a founder that nobody added.
func (e *evaluation) names() map[identity.RemoteIdentity]*node {
	weights := map[*node]weight{}
	best := map[identity.RemoteIdentity]*node{}
	for _, n := range e.adds {
		w, a := e.weigh(n), n.body.(Add)
		if w == unsupported {
			continue
		}
		weights[n] = w
		if o := best[a.Instance]; o == nil || cmp.Or(cmp.Compare(weights[o], w), n.hash.Compare(o.hash)) < 0 {
			best[a.Instance] = n
		}
	}
	if _, added := best[e.g.founder]; !added && e.foundedAt() {
		best[e.g.founder] = nil
	}
	return best
}

// members returns the members of the library, and the removed admins.
func (e *evaluation) members(removed map[identity.RemoteIdentity]bool) (members, former []Member) {
	byKey := map[[identity.Size]byte]Member{} // A and -A are the same to a tunnel
	for instance, n := range e.names() {
		m := Member{Instance: instance, Node: e.node(instance, e.within), Role: RoleMember}
		if n != nil {
			m.Name, m.Added, m.By = text.Plain(n.body.(Add).Name), n.At(), n.Signer
		}
		if e.admin(instance) {
			m.Role = RoleAdmin
		}
		if removed[instance] && m.Role == RoleAdmin {
			if m.Node.IsZero() {
				m.Node = e.node(instance, func(*node) bool { return true })
			}
			if !m.Node.IsZero() {
				former = append(former, m)
			}
		}
		if removed[instance] || m.Node.IsZero() {
			continue
		}
		key := instance.Bytes()
		key[len(key)-1] &= 0x7f // the sign
		if o, twice := byKey[key]; !twice || compareKeys(instance, o.Instance) < 0 {
			byKey[key] = m
		}
	}
	members = slices.Collect(maps.Values(byKey))
	for _, list := range [][]Member{members, former} {
		slices.SortFunc(list, func(a, b Member) int { return compareKeys(a.Instance, b.Instance) })
	}
	return members, former
}

// foundedAt reports whether a number 1 of the founder names a node.
func (e *evaluation) foundedAt() bool {
	return slices.ContainsFunc(e.g.chains[e.g.founder], func(n *node) bool {
		m, ok := n.body.(Move)
		return ok && n.Counter == 1 && !m.Node.IsZero() && e.within(n)
	})
}

// node returns the node that an instance lives on by the moves that count; zero
// if its number 1 is not one of these, or if it is a founder that no longer
// lives anywhere.
func (e *evaluation) node(instance identity.RemoteIdentity, counts func(*node) bool) (at identity.RemoteIdentity) {
	var best *node
	first := false
	for _, n := range e.g.chains[instance] {
		m, ok := n.body.(Move)
		if !ok || !counts(n) {
			continue
		}
		first = first || n.Counter == 1
		if best == nil || cmp.Or(cmp.Compare(best.Counter, n.Counter), n.hash.Compare(best.hash)) < 0 {
			best, at = n, m.Node
		}
	}
	if !first {
		return identity.RemoteIdentity{}
	}
	return at
}

// secrets returns the secrets that count, by number; of those with the same
// number, the one whose statement has the smaller hash comes last.
func (e *evaluation) secrets() []Secret {
	var all []*node
	for _, chain := range e.g.chains {
		for _, n := range chain {
			if _, ok := n.body.(Secret); ok && e.counts(n, identity.RemoteIdentity{}) {
				all = append(all, n)
			}
		}
	}
	slices.SortFunc(all, func(a, b *node) int {
		return cmp.Or(cmp.Compare(a.body.(Secret).Number, b.body.(Secret).Number), b.hash.Compare(a.hash))
	})
	var secrets []Secret
	last := uint64(0) // the number that counts
	for _, n := range all {
		s := n.body.(Secret)
		if s.Number == 0 || s.Number > last+1 {
			continue
		}
		last = s.Number
		secrets = append(secrets, s)
	}
	return secrets
}

// forked returns the signers with two statements that follow the same one.
func (g *graph) forked() (forked []identity.RemoteIdentity) {
	for signer, chain := range g.chains {
		after := map[*node]bool{}
		for _, n := range chain {
			if after[n.parent] {
				forked = append(forked, signer)
				break
			}
			after[n.parent] = true
		}
	}
	slices.SortFunc(forked, compareKeys)
	return forked
}
