package roster

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConcerningModel: a removed admin comes to the same verdict with the
// statements that Concerning returns, whichever others it knows.
func TestConcerningModel(t *testing.T) {
	t.Parallel()
	told := 0
	many(t, 500, 50_000, func(t testing.TB, pick func(int) int) {
		h := random(pick)
		all := h.roster(h.signed)
		nodes := newDevices(h, 0).nodes
		for _, id := range cast() {
			concerning := all.Concerning(id)
			require.Equal(t, all.View().Removed(id), len(concerning) > 0)
			if !all.View().Removed(id) || !all.View().WasAdmin(id) {
				continue
			}
			told++
			var there []*node
			for _, n := range h.shuffled()[:pick(len(h.signed)+1)] {
				if all.known.nodes[n.hash] != nil {
					there = append(there, n)
				}
			}
			r := h.roster(nil)
			give(r, there)
			for _, s := range concerning {
				there = append(there, nodes[s.Hash()])
			}
			give(r, there)
			if !r.View().Removed(id) {
				t.Log(h)
			}
			require.True(t, r.View().Removed(id), "%v", id)
			for _, s := range concerning {
				require.NotNil(t, r.known.nodes[s.Hash()], "a statement was told in vain: %v about %v\n%v", s.Hash(), id, h)
			}
		}
	})
	require.Positive(t, told)
}

// TestConcerning: a removed admin is told the statements that prove its
// removal, and no names of members that came later.
func TestConcerning(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"ann", "bob", "cid"} {
		w.join("founder", name, RoleAdmin)
	}
	old := w.r.Clone()
	w.join("ann", "dan", RoleMember)
	draft := w.draft("ann", Remove{Instance: w.id("cid"), Last: w.last("cid")})
	yes := w.say("bob", Endorse{draft.UnsignedHash()})
	removal := w.sign("ann", draft)
	w.join("ann", "eve", RoleMember)
	w.join("bob", "fay", RoleMember)
	w.say("dan", w.move("dan"))
	require.Empty(t, w.r.Concerning(w.id("dan")))

	told := w.r.Concerning(w.id("cid"))
	hashes := map[Hash]bool{}
	for _, s := range told {
		hashes[s.Hash()] = true
		if add, ok := s.Parse(w.founder.Remote()).(Add); ok {
			require.NotContains(t, []string{"eve", "fay"}, add.Name)
		}
		require.NotEqual(t, w.id("dan"), s.Signer)
	}
	require.True(t, hashes[removal] && hashes[yes])
	require.Len(t, told, 4+3+2+1) // by the founder, ann, bob and cid
	for _, r := range []*Roster{old, New(w.r.Library(), w.founder.Remote())} {
		require.False(t, r.View().Removed(w.id("cid")))
		_, err := r.Add(told...)
		require.NoError(t, err)
		require.True(t, r.View().Removed(w.id("cid")))
		require.Equal(t, []Member{{Instance: w.id("cid"), Node: w.id("cid node"), Name: "cid", Role: RoleAdmin, Added: epoch, By: w.founder.Remote()}}, r.View().Former)
	}

	w.say("founder", Remove{Instance: w.id("cid"), Last: w.last("cid")})
	require.Len(t, w.r.Concerning(w.id("cid")), 5+1, "a removal by the founder needs no other signature")
}
