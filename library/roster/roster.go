package roster

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

// ErrFull says that a signer's chain has no room for another statement: a
// member's has 16, an admin's and the founder's four more for each of their
// places.
var ErrFull = errors.New("roster: the signer's chain is full")

// A Roster is the set of statements about one library that a device knows. Make
// one with [New]; the zero Roster accepts no statements. Methods that change a
// Roster must not be called concurrently with any other; the others may be.
type Roster struct {
	library uuid.UUID
	founder identity.RemoteIdentity
	known   graph
	view    func() *View // evaluates known, once
}

// A node is a statement in a roster. It does not change.
type node struct {
	Statement
	hash, unsigned Hash
	body           Body // nil: it counts for nothing
	parent         *node
	brought        int  // number of instances added on the branch up to it
	placed         bool // for an Add: there is a place for it
}

// A graph is a set of nodes.
type graph struct {
	founder  identity.RemoteIdentity
	nodes    map[Hash]*node
	order    []*node // as they arrived, predecessors first
	chains   map[identity.RemoteIdentity][]*node
	endorsed map[Hash][]*node // the endorsements of a statement, by its unsigned hash
}

func newGraph(founder identity.RemoteIdentity) graph {
	return graph{
		founder: founder, nodes: map[Hash]*node{},
		chains: map[identity.RemoteIdentity][]*node{}, endorsed: map[Hash][]*node{},
	}
}

// add adds a node that is not in the graph. Its parent is.
func (g *graph) add(n *node) {
	g.nodes[n.hash] = n
	g.order = append(g.order, n)
	g.chains[n.Signer] = append(g.chains[n.Signer], n)
	if e, ok := n.body.(Endorse); ok {
		g.endorsed[e.Of] = append(g.endorsed[e.Of], n)
	}
}

func (g *graph) clone() graph {
	c := graph{
		founder: g.founder, nodes: maps.Clone(g.nodes), order: slices.Clip(g.order),
		chains: maps.Clone(g.chains), endorsed: maps.Clone(g.endorsed),
	}
	for k, v := range c.chains {
		c.chains[k] = slices.Clip(v)
	}
	for k, v := range c.endorsed {
		c.endorsed[k] = slices.Clip(v)
	}
	return c
}

// with returns a copy with further nodes.
func (g *graph) with(nodes []*node) graph {
	c := g.clone()
	for _, n := range nodes {
		c.add(n)
	}
	return c
}

// ends returns the nodes that are no other node's predecessor.
func (g *graph) ends() map[*node]bool {
	ends := make(map[*node]bool, len(g.nodes))
	for _, n := range g.order {
		ends[n] = true
		delete(ends, n.parent)
	}
	return ends
}

// last returns the end of a signer's longest branch, or nil; of branches of
// equal length, the end with the smaller hash.
func (g *graph) last(signer identity.RemoteIdentity) (last *node) {
	for _, n := range g.chains[signer] {
		if last == nil || cmp.Or(cmp.Compare(last.Counter, n.Counter), n.hash.Compare(last.hash)) < 0 {
			last = n
		}
	}
	return last
}

// compareNodes orders nodes by counter, so that predecessors come first, then
// by signer and hash.
func compareNodes(a, b *node) int {
	return cmp.Or(cmp.Compare(a.Counter, b.Counter), compareKeys(a.Signer, b.Signer), a.hash.Compare(b.hash))
}

func compareKeys(a, b identity.RemoteIdentity) int {
	x, y := a.Bytes(), b.Bytes()
	return slices.Compare(x[:], y[:])
}

// New returns an empty roster of the library that founder made.
func New(library uuid.UUID, founder identity.RemoteIdentity) *Roster {
	r := &Roster{library: library, founder: founder}
	r.set(newGraph(founder))
	return r
}

func (r *Roster) set(g graph) { r.known, r.view = g, sync.OnceValue(g.evaluate) }

// Clone returns a copy that shares no mutable data.
func (r *Roster) Clone() *Roster {
	c := *r // known is replaced, never modified
	return &c
}

// Library returns the library's UUID.
func (r *Roster) Library() uuid.UUID { return r.library }

// Founder returns the key that made the library.
func (r *Roster) Founder() identity.RemoteIdentity { return r.founder }

// Len returns the number of statements.
func (r *Roster) Len() int { return len(r.known.nodes) }

// All returns all statements in the order in which they were added: a roster
// that adds them in this order passes nothing over.
func (r *Roster) All() Statements { return statements(r.known.order) }

func statements(nodes []*node) Statements {
	list := make(Statements, len(nodes))
	for i, n := range nodes {
		list[i] = n.Statement
	}
	return list
}

// Last returns the end of a signer's longest branch; of branches of equal
// length, the end with the smaller hash. The signer's next statement follows
// it, and a removal names it unless the user chose an earlier one. It is zero
// if the signer has signed nothing.
func (r *Roster) Last(signer identity.RemoteIdentity) End {
	if n := r.known.last(signer); n != nil {
		return n.end()
	}
	return End{}
}

// Statement returns the statement with a hash.
func (r *Roster) Statement(h Hash) (Statement, bool) {
	n := r.known.nodes[h]
	if n == nil {
		return Statement{}, false
	}
	return n.Statement, true
}

// Add adds statements that another device sent, predecessors first, and returns
// those that are new. It fails, and adds none, if one of them is not valid
// ([ErrInvalid]), belongs to another library ([ErrOtherLibrary]), or follows a
// statement that is neither known nor before it in the list
// ([ErrNoPredecessor]).
//
// Some are passed over: statements of signers that no admin has added, those
// beyond the maximum length of a chain, and, for a signer that has twice as
// many statements as its chain may have, those that do not follow the end of
// its longest branch, unless they lead to the last statement that a removal
// leaves. Of the statements passed over, only the first 256 are verified, so
// that strangers' statements cost next to nothing.
func (r *Roster) Add(statements ...Statement) (added []Statement, err error) {
	fresh, err := r.check(statements)
	if err != nil || len(fresh) == 0 {
		return nil, err
	}
	next, taken := r.choose(fresh)
	if err := r.verify(fresh, taken); err != nil {
		return nil, err
	}
	return r.install(next, taken), nil
}

// maxIdle is the number of statements passed over that are verified.
const maxIdle = 256

// verify verifies the signatures of nodes that were taken, and of some that
// were passed over. A move that its node has not signed counts for nothing.
func (r *Roster) verify(fresh, taken []*node) error {
	idle := 0
	for _, n := range fresh { // those taken are a part of these, in the same order
		if len(taken) > 0 && taken[0] == n {
			taken = taken[1:]
		} else if idle++; idle > maxIdle {
			continue
		}
		if err := n.Verify(r.founder); err != nil {
			return err
		}
		if m, ok := n.body.(Move); ok && !m.valid(&n.Statement, r.founder) {
			n.body = nil
		}
	}
	return nil
}

// check returns the statements that are not known, as nodes. It verifies no
// signatures.
func (r *Roster) check(statements []Statement) (fresh []*node, err error) {
	sent := map[Hash]*node{}
	for _, s := range statements {
		h := s.Hash()
		if r.known.nodes[h] != nil || sent[h] != nil {
			continue
		}
		if s.Library != r.library || r.founder.IsZero() {
			return nil, fmt.Errorf("%w: %v, of %v", ErrOtherLibrary, s.Library, r.library)
		}
		var parent *node
		if !s.Previous.IsZero() {
			if parent = r.known.nodes[s.Previous]; parent == nil {
				parent = sent[s.Previous]
			}
			if parent == nil || parent.Signer != s.Signer || parent.Counter+1 != s.Counter {
				return nil, fmt.Errorf("%w: number %d of %v", ErrNoPredecessor, s.Counter, s.Signer)
			}
		}
		if err := s.wellFormed(); err != nil {
			return nil, err
		}
		n := newNode(s, h, s.parse(r.founder), parent, r.founder)
		sent[h] = n
		fresh = append(fresh, n)
	}
	return fresh, nil
}

// newNode returns the node of a statement with a body. A number 1 that is not a
// move counts for nothing.
func newNode(s Statement, h Hash, body Body, parent *node, founder identity.RemoteIdentity) *node {
	n := &node{Statement: s, hash: h, unsigned: s.UnsignedHash(), parent: parent}
	if _, move := body.(Move); move || s.Counter > 1 {
		n.body = body
	}
	if parent != nil {
		n.brought = parent.brought
	}
	if a, ok := n.body.(Add); ok {
		if before := n.parent.add(a.Instance); before != nil {
			n.placed = before.placed
		} else {
			n.brought++
			n.placed = n.brought <= places(s.Signer, founder)
		}
	}
	return n
}

// add returns the last node on the branch up to n that adds an instance, or
// nil.
func (n *node) add(instance identity.RemoteIdentity) *node {
	for ; n != nil && n.brought > 0; n = n.parent {
		if a, ok := n.body.(Add); ok && a.Instance == instance {
			return n
		}
	}
	return nil
}

// Draft returns the next statement of a signer, without its signature. It fails
// with [ErrFull] if its chain has no room. Signing two drafts with the same
// predecessor forks the chain: sign and add one before drafting the next.
func (r *Roster) Draft(signer identity.RemoteIdentity, body Body, at time.Time) (Statement, error) {
	last := r.Last(signer)
	if last.Counter >= max(r.known.keeping().length(signer), chainLength(0)) {
		return Statement{}, fmt.Errorf("%w: %d statements of %v", ErrFull, last.Counter, signer)
	}
	b, err := body.appendTo(nil)
	if err != nil {
		return Statement{}, fmt.Errorf("roster: %w", err)
	}
	return Statement{
		Kind: body.kind(), Library: r.library, Signer: signer,
		Counter: last.Counter + 1, Previous: last.Hash, Time: at.Unix(), Body: b,
	}, nil
}

// Sign drafts the next statement of id, signs it and adds it.
func (r *Roster) Sign(id identity.Identity, body Body, at time.Time) (Statement, error) {
	s, err := r.Draft(id.Remote(), body, at)
	if err != nil {
		return Statement{}, err
	}
	if err := s.Sign(id, r.founder); err != nil {
		return Statement{}, err
	}
	if _, err := r.Add(s); err != nil {
		return Statement{}, err
	}
	return s, nil
}
