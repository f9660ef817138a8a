package roster

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// strangers returns keys that no other test uses.
var strangers = sync.OnceValue(func() (ids []identity.RemoteIdentity) {
	for i := range FounderPlaces + 2 {
		ids = append(ids, testKey(string(rune('a'+i))+" stranger").Remote())
	}
	return ids
})

// TestPlaces: an admin has places for 128 instances on a branch, the founder
// for 1,024; an instance that has a place keeps it.
func TestPlaces(t *testing.T) {
	for _, test := range []struct{ signer, places int }{{0, 1024}, {1, 128}} {
		h := newHistory(func(int) int { return 0 })
		h.start(1, 0)
		signer, others := cast()[test.signer], 1-test.signer // ann takes one of the founder's places
		start := h.end(signer)
		counts := func() (n int) {
			v := h.roster(h.signed).View()
			for _, id := range strangers() {
				if _, ok := v.Member(id); ok {
					n++
				}
			}
			return n
		}
		var end *node
		for i, id := range strangers()[:test.places+1-others] {
			end = h.sign(h.draft(signer, or(end, start), Add{Instance: id, Role: RoleMember}))
			h.sign(h.draft(id, nil, at(i%24)))
		}
		require.Equal(t, test.places-others, counts(), "there is no place for the last one")
		h.agree(signer, Add{Instance: strangers()[0], Role: RoleAdmin}, h.founder)
		require.True(t, h.roster(h.signed).View().Admin(strangers()[0]), "it has a place already")
		h.say(signer, Add{Instance: strangers()[test.places-others], Role: RoleMember})
		require.Equal(t, test.places-others, counts())
		h.sign(h.draft(signer, start, Add{Instance: strangers()[test.places-others], Role: RoleMember}))
		require.Equal(t, test.places-others+1, counts(), "a branch of its own has its own places")
	}
}

func or(a, b *node) *node {
	if a != nil {
		return a
	}
	return b
}

// TestChainLength: a branch has at most 4,112 statements of the founder, 528 of
// an admin, 16 of a member. Those beyond are skipped, and have no effect
// meanwhile.
func TestChainLength(t *testing.T) {
	for _, test := range []struct{ signer, length int }{{0, 4112}, {1, 528}, {2, 16}} {
		h := newHistory(func(int) int { return 0 })
		h.start(1, 1)
		signer := cast()[test.signer]
		end := h.end(signer)
		for end.Counter < uint32(test.length) {
			end = h.sign(h.draft(signer, end, nil))
		}
		r := h.roster(h.signed)
		require.Equal(t, len(h.signed), r.Len())
		_, err := r.Draft(signer, Move{}, epoch)
		require.ErrorIs(t, err, ErrFull)

		// First all statements at once, then the last two in a second call.
		stranger := strangers()[0]
		h.sign(h.draft(signer, end, Add{Instance: stranger, Role: RoleMember}))
		h.sign(h.draft(stranger, nil, at(3)))
		require.Equal(t, len(h.signed)-2, h.roster(h.signed).Len())
		require.Empty(t, r.take(h.signed[len(h.signed)-2:]))
		if test.signer > 0 {
			same(t, h, r)
		}
	}
}

// TestPromoted: once a member is an admin, its statements count, including
// those that did not fit before.
func TestPromoted(t *testing.T) {
	h := newHistory(func(int) int { return 0 })
	h.start(1, 1)
	dan := cast()[2]
	h.say(dan, Add{Instance: strangers()[0], Role: RoleMember})
	h.say(strangers()[0], at(3))
	end := h.end(dan)
	for end.Counter < 20 {
		end = h.say(dan, nil)
	}
	r := h.roster(h.signed)
	require.Equal(t, uint32(16), r.Last(dan).Counter)
	require.Empty(t, r.known.chains[strangers()[0]])
	h.say(h.founder, Add{Instance: dan, Role: RoleAdmin})
	h.sign(h.draft(dan, end, Secret{Number: 1}))
	give(r, h.signed)
	same(t, h, r)
	require.Equal(t, uint32(21), r.Last(dan).Counter)
	_, ok := r.View().Member(strangers()[0])
	require.True(t, ok)
	require.Len(t, r.View().Secrets, 1)
}

// flooded returns a history in which the thief of an admin's key has signed
// thousands of statements. All devices know the admin's honest branch up to
// end.
func flooded(t testing.TB) (h *history, thief identity.RemoteIdentity, end *node) {
	h = newHistory(func(int) int { return 0 })
	h.start(3, 0)
	thief = cast()[3]
	h.say(thief, Add{Instance: strangers()[0], Role: RoleMember})
	h.say(strangers()[0], at(1))
	end = h.end(thief)
	first := h.by(thief)[0]
	for i := range 3 * 528 {
		after := []*node{nil, first, end}[i%3]
		var body Body = at(i % 24)
		if i%3 > 0 {
			body = Add{Instance: strangers()[i%500], Role: RoleAdmin}
		}
		fork := h.sign(h.draft(thief, after, body))
		if i%3 == 2 {
			h.sign(h.draft(thief, fork, Remove{Instance: cast()[1]}))
		}
	}
	return h, thief, end
}

// TestFlood: if a signer has more than twice as many statements as fit on a
// branch, only its longest branch still grows, and the statements that a
// removal names are taken.
func TestFlood(t *testing.T) {
	h, thief, end := flooded(t)
	r := h.roster(h.signed)
	longest := r.known.nodes[r.Last(thief).Hash]
	kept := len(r.known.chains[thief])
	require.Equal(t, 2*528+1, kept)

	long := h.sign(h.draft(thief, longest, nil))
	require.Len(t, r.take([]*node{long}), 1)
	honest := h.sign(h.draft(thief, end, Add{Instance: strangers()[600], Role: RoleMember}))
	h.sign(h.draft(strangers()[600], nil, at(2)))
	more := h.sign(h.draft(thief, honest, Add{Instance: strangers()[601], Role: RoleMember}))
	h.sign(h.draft(strangers()[601], nil, at(2)))
	news := h.signed[len(h.signed)-4:]
	require.Empty(t, r.take(news))

	// Neither a removal by the thief nor one of another member makes room.
	h.say(cast()[1], Remove{strangers()[0], more.hash})
	h.sign(h.draft(thief, long, Remove{thief, more.hash}))
	give(r, h.signed[len(h.signed)-6:])
	require.Nil(t, r.known.nodes[honest.hash])

	fromOld := New(r.library, r.founder)
	fromOld.take(r.known.order)
	require.Equal(t, r.Ends(), fromOld.Ends(), "a device that gets everything from another one has the same")
	requireSameView(t, r.View(), fromOld.View())

	h.say(h.founder, Remove{thief, honest.hash})
	give(r, h.signed)
	require.NotNil(t, r.known.nodes[honest.hash])
	require.Nil(t, r.known.nodes[more.hash])
	require.True(t, r.View().Removed(thief))
	for i, expected := range map[int]bool{0: false, 600: true, 601: false} {
		_, ok := r.View().Member(strangers()[i])
		require.Equal(t, expected, ok, "%d", i)
	}
	require.Len(t, r.View().Members, 2+1)
}

// TestNobodyIsPushedOut: no list, however long, displaces a member or a
// removal.
func TestNobodyIsPushedOut(t *testing.T) {
	w := trio(t)
	w.join("ann", "dan", RoleMember)
	w.join("ann", "eve", RoleMember)
	w.say("ann", Remove{Instance: w.id("eve")})
	before := w.members()
	h := &history{pick: func(int) int { return 0 }, founder: w.founder.Remote(), said: map[Hash]Body{}}
	for range 3 {
		end := w.r.known.nodes[w.r.known.chains[w.id("cid")][0].hash]
		for i := range Places {
			h.number++
			end = h.sign(h.draft(w.id("cid"), end, Add{Instance: testKey(string(rune(h.number)) + " listed").Remote(), Role: RoleMember}))
			h.sign(h.draft(end.body.(Add).Instance, nil, at(i%24)))
		}
	}
	w.r.take(h.signed)
	require.Len(t, w.r.View().Members, len(before)+3*Places)
	require.Equal(t, before, w.members())
	require.True(t, w.r.View().Removed(w.id("eve")))
	w.say("founder", Remove{w.id("cid"), w.r.known.chains[w.id("cid")][0].hash})
	require.Len(t, w.r.View().Members, len(before)-1)
}
