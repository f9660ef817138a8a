package roster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/soak"
)

// many runs f with random choices, many times, and names the seed that failed.
// With ROSTER_SEED, it runs that seed alone.
func many(t *testing.T, usual, long int, f func(t testing.TB, pick func(int) int)) {
	run := func(seed uint64) {
		random := rand.New(rand.NewPCG(seed, 17))
		f(&seeded{t, seed}, random.IntN)
	}
	if s := os.Getenv("ROSTER_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		run(seed)
		return
	}
	for i := range soak.N(usual, long) {
		run(uint64(i))
	}
}

// seeded is a test that names its seed in its errors.
type seeded struct {
	testing.TB
	seed uint64
}

func (s *seeded) Errorf(format string, args ...any) {
	s.TB.Helper()
	s.TB.Errorf("ROSTER_SEED=%d: %s", s.seed, fmt.Sprintf(format, args...))
}

// same requires that a roster's view of all statements of a history agrees with
// the second evaluation.
func same(t testing.TB, h *history, r *Roster) {
	defer func() {
		if t.Failed() {
			t.Log(h)
		}
	}()
	n, v := h.naive(h.signed), r.View()
	require.Equal(t, len(n.facts), r.Len(), "number of statements that are kept")
	for what, is := range map[string]struct {
		expected map[identity.RemoteIdentity]naiveMember
		actual   []Member
	}{"members": {n.members(), v.Members}, "former admins": {n.former(), v.Former}} {
		actual := map[identity.RemoteIdentity]naiveMember{}
		for _, m := range is.actual {
			actual[m.Instance] = naiveMember{node: m.Node, role: m.Role, name: m.Name}
		}
		if !maps.Equal(is.expected, actual) || len(actual) != len(is.actual) {
			require.Equal(t, is.expected, actual, what)
		}
	}
	removals := slices.EqualFunc(n.taken, v.Removals, func(a naiveRemoval, b Removal) bool { return a.hash == b.Hash && a.target == b.Instance })
	require.True(t, removals, "removals: %v, %v", n.taken, v.Removals)
	admins, forked := n.admins(), n.forked()
	for i, id := range cast() {
		got := [...]bool{v.WasAdmin(id), v.Removed(id), v.Admin(id), slices.Contains(v.Forked, id)}
		expected := [...]bool{admins[id], n.removed(id), admins[id] && !n.removed(id), forked[id]}
		require.True(t, expected == got, "%d: admin, removed, still admin, forked: %v, %v", i, expected, got)
	}
	var present, secret Body
	if len(v.Secrets) > 0 {
		present = v.Secrets[len(v.Secrets)-1]
	}
	if f := n.secret(); f != nil {
		secret = f.body
	}
	require.True(t, secret == present, "secret: %v, %v", secret, present)
}

// TestEvaluation compares the evaluation with the second, independent one.
func TestEvaluation(t *testing.T) {
	t.Parallel()
	many(t, 2400, 200_000, func(t testing.TB, pick func(int) int) {
		h := random(pick)
		same(t, h, h.roster(h.signed))
	})
}

func TestEvaluationRapid(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := random(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "") })
		same(t, h, h.roster(h.signed))
	})
}

// TestOnlyAdmins: statements of other signers than admins change nothing,
// except about their own nodes and their own leaving; unless the founder has
// endorsed them.
func TestOnlyAdmins(t *testing.T) {
	t.Parallel()
	many(t, 400, 20_000, func(t testing.TB, pick func(int) int) {
		h := random(pick)
		r := h.roster(h.signed)
		admins := r.known.keeping().admins
		agreed := map[Hash]bool{}
		for _, n := range h.by(h.founder) {
			if e, ok := n.body.(Endorse); ok {
				agreed[e.Of] = true
			}
		}
		blank := newGraph(h.founder)
		for _, n := range r.known.order {
			n := *n
			_, admin := admins[n.Signer]
			_, move := n.body.(Move)
			if !admin && !move && n.removes() != n.Signer && !agreed[n.unsigned] {
				n.body = nil
			}
			if n.parent != nil {
				n.parent = blank.nodes[n.parent.hash]
			}
			blank.add(&n)
		}
		if t.Failed() {
			t.Log(h)
		}
		requireSameView(t, r.View(), blank.evaluate())
	})
}
