package roster

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

// A history is a set of statements about one library, signed by honest members
// and by others. Its signatures are numbers, so that thousands of histories
// cost little: nodes are made as by Roster.Add after it has verified a
// statement.
type history struct {
	pick    func(n int) int // returns a number below n
	founder identity.RemoteIdentity
	signed  []*node       // in the order in which they were signed
	asked   []*node       // drafts that have not been signed
	said    map[Hash]Body // the body of each statement, by its unsigned hash
	number  uint64
}

var modelLibrary = uuid.MustParse("00000000-0000-4000-8000-00000000000d")

// cast returns the keys for histories: number 0 is the founder, number 5 is −A
// of number 4.
var cast = sync.OnceValue(func() (ids []identity.RemoteIdentity) {
	for i := range 12 {
		ids = append(ids, testKey(fmt.Sprint("cast ", i)).Remote())
	}
	ids[5] = minus(ids[4])
	return ids
})

// minus returns −A of A.
func minus(id identity.RemoteIdentity) identity.RemoteIdentity {
	b := id.Bytes()
	b[len(b)-1] ^= 0x80
	id, err := identity.FromBytes(b[:])
	if err != nil {
		panic(err)
	}
	return id
}

// testKey returns the key with a name's seed.
func testKey(name string) identity.Identity {
	seed := make([]byte, identity.SeedSize)
	copy(seed, name)
	id, err := identity.FromSeed(seed)
	if err != nil {
		panic(err)
	}
	return id
}

func newHistory(pick func(n int) int) *history {
	return &history{pick: pick, founder: cast()[0], said: map[Hash]Body{}}
}

// draft returns a node that has not been signed.
func (h *history) draft(signer identity.RemoteIdentity, after *node, body Body) *node {
	s := Statement{Kind: 9, Library: modelLibrary, Signer: signer, Counter: 1, Body: []byte{0}}
	if body != nil {
		s.Kind = body.kind()
		s.Body, _ = body.appendTo(nil)
	}
	if after != nil {
		s.Counter, s.Previous = after.Counter+1, after.hash
	}
	h.said[s.UnsignedHash()] = body
	if m, ok := body.(Move); ok && m.Node.IsZero() && signer != h.founder {
		body = nil // as by Parse
	}
	return newNode(s, Hash{}, body, after, h.founder)
}

// sign signs a draft; a draft may be signed more than once.
func (h *history) sign(draft *node) *node {
	n := *draft
	h.number++
	binary.LittleEndian.PutUint64(n.Signature[:], h.number)
	binary.LittleEndian.PutUint32(n.Signature[8:], uint32(h.pick(1<<30)))
	n.hash = n.Statement.Hash()
	h.signed = append(h.signed, &n)
	return &n
}

// by returns the statements of a signer.
func (h *history) by(signer identity.RemoteIdentity) (own []*node) {
	for _, n := range h.signed {
		if n.Signer == signer {
			own = append(own, n)
		}
	}
	return own
}

// end returns the last statement of a signer's longest branch, of the first one
// if several are equally long, or nil.
func (h *history) end(signer identity.RemoteIdentity) (end *node) {
	for _, n := range h.by(signer) {
		if end == nil || n.Counter > end.Counter {
			end = n
		}
	}
	return end
}

// say signs the next statement of a signer.
func (h *history) say(signer identity.RemoteIdentity, body Body) *node {
	return h.sign(h.draft(signer, h.end(signer), body))
}

// agree has others endorse a draft and then signs it.
func (h *history) agree(signer identity.RemoteIdentity, body Body, others ...identity.RemoteIdentity) *node {
	draft := h.draft(signer, h.end(signer), body)
	for _, other := range others {
		h.say(other, Endorse{draft.unsigned})
	}
	return h.sign(draft)
}

func at(i int) Move { return Move{Node: testNode(i)} }

var testNode = func() func(i int) identity.RemoteIdentity {
	nodes := sync.OnceValue(func() (ids []identity.RemoteIdentity) {
		for i := range 24 {
			ids = append(ids, testKey(fmt.Sprint("node ", i)).Remote())
		}
		return ids
	})
	return func(i int) identity.RemoteIdentity { return nodes()[i] }
}()

// one returns a random element.
func one[T any](h *history, of []T) T { return of[h.pick(len(of))] }

// start signs the beginning of a library: the founder adds admins and members,
// each with a node.
func (h *history) start(admins, members int) {
	ids := cast()
	h.say(h.founder, one(h, []Move{{}, at(0)}))
	for i := 1; i <= admins+members; i++ {
		role := RoleAdmin
		if i > admins {
			role = RoleMember
		}
		h.say(h.founder, Add{Instance: ids[i], Role: role, Name: fmt.Sprint("i", i)})
		h.say(ids[i], at(i))
	}
}

// somebody returns a random key of the cast, more often one of the first.
func (h *history) somebody() identity.RemoteIdentity { return one(h, cast()[:1+h.pick(len(cast()))]) }

// anything signs a statement like an attacker that holds all keys: at any place
// of a tree, about any key.
func (h *history) anything() {
	signer := h.somebody()
	after := h.end(signer)
	if own := h.by(signer); len(own) > 0 && h.pick(5) == 0 {
		after = one(h, append(own, nil))
	}
	if after == nil && h.pick(10) > 0 {
		h.sign(h.draft(signer, nil, one(h, []Move{at(h.pick(24)), {}, at(h.pick(24))})))
		return
	}
	switch n := h.pick(20); {
	case n < 3 && len(h.asked) > 0:
		h.sign(one(h, h.asked))
	case n < 9:
		signer := one(h, cast()[:4])
		if h.end(signer) != nil {
			h.agree(signer, h.addOrRemove(), one(h, cast()[:4]), one(h, cast()[:4]))
		}
	case n < 11:
		draft := h.draft(signer, after, h.addOrRemove())
		h.asked = append(h.asked, draft)
		for range h.pick(3) {
			h.say(one(h, cast()[:4]), Endorse{draft.unsigned})
		}
		if h.pick(4) > 0 {
			h.sign(draft)
		}
	default:
		h.sign(h.draft(signer, after, h.body()))
	}
}

func (h *history) body() Body {
	switch n := h.pick(20); {
	case n < 1:
		return nil
	case n < 3:
		return at(h.pick(24))
	case n < 7:
		return Secret{Number: one(h, []uint64{0, 1, 1, 1, 2, 2, 2, 3, 4, math.MaxUint64}), Hash: Hash{byte(h.pick(8))}}
	case n < 10:
		return Endorse{one(h, append(h.asked, one(h, h.signed))).unsigned}
	}
	return h.addOrRemove()
}

func (h *history) addOrRemove() Body {
	target := h.somebody()
	if h.pick(5) < 2 {
		return Add{Instance: target, Role: one(h, []Role{RoleMember, RoleAdmin}), Name: fmt.Sprint("n", h.pick(8))}
	}
	last := Hash{1}
	switch own := h.by(target); {
	case len(own) > 0 && h.pick(4) > 0:
		last = one(h, own).hash
	case h.pick(2) == 0:
		last = one(h, h.signed).hash
	}
	return Remove{Instance: target, Last: last}
}

// random returns a history of arbitrary statements.
func random(pick func(int) int) *history {
	h := newHistory(pick)
	h.say(h.founder, one(h, []Move{{}, at(0)}))
	if pick(4) > 0 {
		h.start(pick(4), pick(3))
	}
	for range 4 + pick(24) {
		h.anything()
	}
	return h
}

// shuffled returns the statements in an order in which each follows its
// predecessor.
func (h *history) shuffled() []*node {
	left := slices.Clone(h.signed)
	for i := len(left) - 1; i > 0; i-- {
		j := h.pick(i + 1)
		left[i], left[j] = left[j], left[i]
	}
	done := map[*node]bool{nil: true}
	var out []*node
	for len(left) > 0 {
		left = slices.DeleteFunc(left, func(n *node) bool {
			if !done[n.parent] {
				return false
			}
			done[n] = true
			out = append(out, n)
			return true
		})
	}
	return out
}

// roster returns a roster of some of the statements.
func (h *history) roster(nodes []*node) *Roster {
	r := New(modelLibrary, h.founder)
	r.take(nodes)
	return r
}

// naive returns the second evaluation of the statements, as far as a roster
// keeps them.
func (h *history) naive(nodes []*node) *naive {
	all := &naive{founder: h.founder, facts: map[Hash]*fact{}}
	for _, n := range nodes {
		all.facts[n.hash] = &fact{Statement: n.Statement, hash: n.hash, unsigned: n.unsigned, body: h.said[n.unsigned]}
	}
	all.facts = all.kept()
	all.evaluate()
	return all
}

// String lists the statements, with keys of the cast by number.
func (h *history) String() string {
	var b strings.Builder
	who := func(id identity.RemoteIdentity) int { return slices.Index(cast(), id) }
	numbers := map[Hash]int{}
	for i, n := range h.signed {
		numbers[n.hash] = i
		after := -1
		if n.parent != nil {
			after = numbers[n.parent.hash]
		}
		fmt.Fprintf(&b, "%3d %v: %d, number %d after %d: ", i, n.hash, who(n.Signer), n.Counter, after)
		switch body := h.said[n.unsigned].(type) {
		case Add:
			fmt.Fprintf(&b, "add %d as %v, %s\n", who(body.Instance), body.Role, body.Name)
		case Remove:
			last, known := numbers[body.Last]
			fmt.Fprintf(&b, "remove %d, last %d %v\n", who(body.Instance), last, known)
		case Endorse:
			fmt.Fprintf(&b, "endorse %v", body.Of)
			for i, o := range h.signed {
				if o.unsigned == body.Of {
					fmt.Fprintf(&b, " %d", i)
				}
			}
			fmt.Fprintln(&b)
		default:
			fmt.Fprintf(&b, "%T\n", body)
		}
	}
	return b.String()
}
