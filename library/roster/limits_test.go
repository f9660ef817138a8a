package roster

import (
	"math"
	"sync"
	"testing"
	"time"

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

// TestFloodExchange: if not all statements fit in an exchange, those of the
// founder and the admins come first, and the next exchange brings the rest.
func TestFloodExchange(t *testing.T) {
	h, _, _ := flooded(t)
	nodes := newDevices(h, 0).nodes
	r := h.roster(h.signed)
	missing := r.Missing(nil)
	require.Len(t, missing, r.Len())
	rank := func(s Statement) int {
		switch {
		case s.Signer == h.founder:
			return 0
		case r.View().WasAdmin(s.Signer):
			return 1
		}
		return 2
	}
	for i, s := range missing[1:] {
		require.LessOrEqual(t, rank(missing[i]), rank(s))
	}
	for _, cut := range []int{200, 1000} {
		o := h.roster(nil)
		for range 2 + r.Len()/cut {
			var some []*node
			missing := r.Missing(o.Ends())
			for _, s := range missing[:min(cut, len(missing))] {
				some = append(some, nodes[s.Hash()])
			}
			give(o, some)
		}
		require.Equal(t, r.Ends(), o.Ends())
	}
}

// TestFloodOfLeaving: a key that states everywhere on its tree that it leaves
// costs time, but no more than others can spare.
func TestFloodOfLeaving(t *testing.T) {
	h := newHistory(func(int) int { return 0 })
	h.start(3, 0)
	thief := cast()[3]
	first := h.end(thief)
	for range 264 {
		left := h.sign(h.draft(thief, first, Remove{Instance: thief}))
		left = h.sign(h.draft(thief, left, Remove{Instance: thief}))
		h.sign(h.draft(thief, h.sign(h.draft(thief, left, Add{Instance: strangers()[1]})), Endorse{left.unsigned}))
	}
	r := h.roster(h.signed)
	start := time.Now()
	v := r.View()
	t.Log(r.Len(), time.Since(start))
	require.True(t, v.Removed(thief))
	require.Len(t, v.Members, 2)
}

// TestUnknownPin: a removal that names an unknown statement leaves nothing in
// effect until that statement is known; if it names another signer's statement,
// nothing ever.
func TestUnknownPin(t *testing.T) {
	w := trio(t)
	w.join("cid", "dan", RoleMember)
	o := w.r.Clone()
	w.join("cid", "eve", RoleMember)
	pin, _ := w.r.Statement(w.last("cid"))
	removal, err := w.r.Sign(w.founder, Remove{w.id("cid"), pin.Hash()}, epoch)
	require.NoError(t, err)
	require.Equal(t, []string{"ann*", "bob*", "dan", "eve"}, w.members())

	_, err = o.Add(removal)
	require.NoError(t, err)
	_, in := o.View().Member(w.id("dan"))
	require.False(t, in)
	_, err = o.Add(pin)
	require.NoError(t, err)
	_, in = o.View().Member(w.id("dan"))
	require.True(t, in)
}

// TestSeveralRemovals leave in effect the statements that all of them leave,
// but the founder's removals are not narrowed by others.
func TestSeveralRemovals(t *testing.T) {
	w := trio(t)
	var pins []Hash
	for _, name := range []string{"dan", "eve", "fay"} {
		w.join("cid", name, RoleMember)
		pins = append(pins, w.last("cid"))
	}
	w.both("ann", "bob", Remove{w.id("cid"), pins[1]})
	require.Equal(t, []string{"ann*", "bob*", "dan", "eve"}, w.members())
	w.both("bob", "ann", Remove{w.id("cid"), pins[0]})
	require.Equal(t, []string{"ann*", "bob*", "dan"}, w.members())
	w.say("founder", Remove{w.id("cid"), pins[2]})
	require.Equal(t, []string{"ann*", "bob*", "dan", "eve", "fay"}, w.members())
	w.both("ann", "bob", Remove{w.id("cid"), Hash{}})
	require.Equal(t, []string{"ann*", "bob*", "dan", "eve", "fay"}, w.members())
	w.both("ann", "founder", Remove{w.id("cid"), pins[1]})
	require.Equal(t, []string{"ann*", "bob*", "dan", "eve"}, w.members(), "the statements that all removals by the founder leave")
}

// TestFoundersAnswer: the holders of two stolen keys remove the founder and an
// admin; the founder's removals of the two take precedence.
func TestFoundersAnswer(t *testing.T) {
	w := trio(t)
	w.join("founder", "dan", RoleMember)
	first := w.r.All()[0].Hash()
	w.both("bob", "cid", Remove{w.id("founder"), first})
	require.Empty(t, w.members(), "the founder had added all of them")
	require.False(t, w.r.View().Admin(w.id("founder")))
	bob, cid := w.r.known.chains[w.id("bob")][0].hash, w.r.known.chains[w.id("cid")][0].hash
	w.say("founder", Remove{w.id("bob"), bob})
	w.say("founder", Remove{w.id("cid"), cid})
	require.Equal(t, []string{"ann*", "dan"}, w.members())
	require.True(t, w.r.View().Admin(w.id("founder")))
}

// TestRemovalFalls: a removal loses its effect if its signer's removal does not
// leave it, and its target comes back.
func TestRemovalFalls(t *testing.T) {
	w := trio(t)
	w.join("ann", "dan", RoleMember)
	good := w.last("cid")
	w.say("cid", Remove{w.id("dan"), w.last("dan")})
	require.NotContains(t, w.members(), "dan")
	w.say("founder", Remove{w.id("cid"), good})
	require.Contains(t, w.members(), "dan")
	w.say("ann", Remove{w.id("zoe"), Hash{}})
	w.join("bob", "zoe", RoleMember)
	require.NotContains(t, w.members(), "zoe", "zoe was removed before it was added")
}

// TestSecrets: the numbers of secrets that count have no gap; of two with equal
// numbers, the one whose statement has the smaller hash counts; and a secret
// loses its effect together with its signer.
func TestSecrets(t *testing.T) {
	w := trio(t)
	present := func() byte {
		if s := w.r.View().Secrets; len(s) > 0 {
			return s[len(s)-1].Hash[0]
		}
		return 0
	}
	w.say("ann", Secret{Number: 2, Hash: Hash{2}})
	w.say("ann", Secret{Number: 0, Hash: Hash{3}})
	w.say("ann", Secret{Number: math.MaxUint64, Hash: Hash{4}})
	w.join("ann", "dan", RoleMember)
	w.say("dan", Secret{Number: 1, Hash: Hash{5}})
	require.Zero(t, present())
	good := w.last("cid")
	w.say("cid", Secret{Number: 1, Hash: Hash{6}})
	require.Equal(t, byte(2), present())
	a := w.say("bob", Secret{Number: 3, Hash: Hash{7}})
	b := w.say("ann", Secret{Number: 3, Hash: Hash{8}})
	require.Equal(t, map[bool]byte{true: 7, false: 8}[a.Compare(b) < 0], present())
	w.say("founder", Remove{w.id("cid"), good})
	require.Zero(t, present(), "number 1 is gone, and with it the numbers that follow")
	w.say("ann", Secret{Number: 1, Hash: Hash{9}})
	require.Equal(t, map[bool]byte{true: 7, false: 8}[a.Compare(b) < 0], present())
}

// TestNames: a member's name comes from the founder's add, else from one that
// two admins signed, else from the add with the smallest hash; the founder
// names itself.
func TestNames(t *testing.T) {
	w := trio(t)
	name := func() string {
		m, _ := w.r.View().Member(w.id("dan"))
		return m.Name
	}
	a := w.join("ann", "dan", RoleMember)
	b := w.say("bob", Add{Instance: w.id("dan"), Role: RoleMember, Name: "danny"})
	require.Equal(t, map[bool]string{true: "dan", false: "danny"}[a.Compare(b) < 0], name())
	w.both("ann", "cid", Add{Instance: w.id("dan"), Role: RoleMember, Name: "two"})
	require.Equal(t, "two", name())
	w.both("bob", "founder", Add{Instance: w.id("dan"), Role: RoleMember, Name: "founder's"})
	require.Equal(t, "founder's", name())

	w.say("founder", Add{Instance: w.id("founder"), Role: RoleMember, Name: "me"})
	require.NotContains(t, w.members(), "founder*", "the founder has stated no node")
	w.say("founder", w.home("founder", "founder node", w.r.Last(w.id("founder")).Counter+1))
	require.Contains(t, w.members(), "founder*")
	m, _ := w.r.View().Member(w.id("founder"))
	require.Equal(t, "me", m.Name)
	w.say("founder", Move{})
	require.NotContains(t, w.members(), "founder*", "the founder has no node any more")
}

// TestReaders: methods that change nothing may be called concurrently.
func TestReaders(t *testing.T) {
	w := trio(t)
	r, readers := w.r.Clone(), sync.WaitGroup{}
	for range 4 {
		readers.Go(func() {
			r.View()
			r.Concerning(w.id("ann"))
			r.Missing(r.Clone().Ends())
		})
	}
	readers.Wait()
	require.Empty(t, (&Roster{}).View().Members)
	_, err := new(Roster).Add(r.All()...)
	require.ErrorIs(t, err, ErrOtherLibrary)
}
