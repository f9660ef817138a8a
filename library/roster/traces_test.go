package roster

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// trio returns a library whose founder has made three admins.
func trio(t testing.TB) *world {
	w := newWorld(t)
	for _, name := range []string{"ann", "bob", "cid"} {
		w.join("founder", name, RoleAdmin)
	}
	return w
}

// home returns a move of a name, with a counter, to a named node.
func (w *world) home(name, node string, counter uint32) Move {
	return SignMove(w.key(node), w.founder.Remote(), w.r.Library(), w.id(name), counter)
}

// TestSybils: a device that only one admin makes an admin is none, nor are any
// that such devices make admins, however many they are.
func TestSybils(t *testing.T) {
	w := trio(t)
	before := w.members()
	for _, name := range []string{"s1", "s2", "s3"} {
		w.join("cid", name, RoleAdmin)
	}
	w.both("cid", "s1", Add{Instance: w.id("s2"), Role: RoleAdmin})
	w.both("s1", "cid", Add{Instance: w.id("s3"), Role: RoleAdmin})
	w.both("s1", "s2", Remove{Instance: w.id("ann")})
	w.both("s2", "cid", Remove{Instance: w.id("founder")})
	w.both("cid", "s3", Remove{Instance: w.id("bob")})
	require.Equal(t, append(before, "s1", "s2", "s3"), w.members())
	w.join("s1", "s4", RoleMember)
	require.NotContains(t, w.members(), "s4")
}

// TestForkAtNumberOne: a thief begins a second chain. Once the key is removed,
// its statements there count for nothing, and they do not move the key's
// instance.
func TestForkAtNumberOne(t *testing.T) {
	w := trio(t)
	w.join("cid", "dan", RoleMember)
	good := w.last("cid")
	other := w.after("cid", Hash{}, w.home("cid", "thief's node", 1))
	other = w.after("cid", other, Add{Instance: w.id("eve"), Role: RoleMember})
	w.say("eve", w.move("eve"))
	w.after("cid", other, Remove{Instance: w.id("dan")})
	w.after("cid", Hash{}, w.home("cid", "another node", 1))
	require.Equal(t, []string{"ann*", "bob*", "cid*", "eve"}, w.members())
	require.Equal(t, []identity.RemoteIdentity{w.id("cid")}, w.r.View().Forked)
	w.both("ann", "bob", Remove{w.id("cid"), good})
	require.Equal(t, []string{"ann*", "bob*", "dan"}, w.members())
	require.Equal(t, w.id("cid node"), w.r.View().Former[0].Node, "the node that the honest branch states")
}

// TestFounderFromBackup: a founder that was restored from a backup has
// forgotten some of its statements. Its new statements count, and so do the
// forgotten ones.
func TestFounderFromBackup(t *testing.T) {
	w := newWorld(t)
	w.join("founder", "ann", RoleAdmin)
	backup := w.last("founder")
	w.join("founder", "bob", RoleAdmin)
	w.join("ann", "dan", RoleMember)
	w.say("founder", Remove{w.id("dan"), w.last("dan")})
	require.Equal(t, []string{"ann*", "bob*"}, w.members())

	after := w.after("founder", backup, Add{Instance: w.id("cid"), Role: RoleAdmin})
	w.say("cid", w.move("cid"))
	require.Equal(t, []string{"ann*", "bob*", "cid*"}, w.members())
	require.Equal(t, []identity.RemoteIdentity{w.id("founder")}, w.r.View().Forked)

	w.after("founder", after, Add{Instance: w.id("dan"), Role: RoleAdmin})
	require.NotContains(t, w.members(), "dan*", "dan was removed for good")
	w.after("founder", after, Remove{w.id("bob"), w.last("bob")})
	require.Equal(t, []string{"ann*", "cid*"}, w.members())
}

// TestHalfSigned: an endorsement is of use only to the asker's key, so that no
// other signer can complete a half-signed statement.
func TestHalfSigned(t *testing.T) {
	w := trio(t)
	before := w.members()
	asked := w.draft("ann", Remove{Instance: w.id("bob")})
	yes := asked.UnsignedHash()
	w.say("founder", Endorse{yes})
	w.say("cid", Endorse{yes})
	require.Equal(t, before, w.members(), "the asker has not signed it yet")

	w.say("cid", Remove{Instance: w.id("bob")}) // the same body, by another signer
	forged := asked
	require.ErrorIs(t, forged.Sign(w.key("cid"), w.founder.Remote()), ErrInvalid)
	copy(forged.Signature[:], "cid's")
	_, err := w.r.Add(forged)
	require.ErrorIs(t, err, ErrInvalid)
	require.Equal(t, before, w.members())

	altered := asked
	altered.Body, err = Remove{Instance: w.id("cid")}.appendTo(nil)
	require.NoError(t, err)
	altered.Counter, altered.Previous = w.r.Last(w.id("ann")).Counter+1, w.last("ann")
	w.sign("ann", altered)
	require.Equal(t, before, w.members(), "ann had asked for something else")
	w.sign("ann", asked)
	require.NotContains(t, w.members(), "bob*")
}

// TestUnusedYes: a thief signs, with a stolen key, a statement that was
// endorsed but not used. With the founder's endorsement it counts even after
// the key is removed; with an admin's it does not.
func TestUnusedYes(t *testing.T) {
	for _, test := range []struct {
		second   string
		expected []string
	}{
		{"founder", []string{"ann*", "bob*", "dan*"}},
		{"bob", []string{"ann*", "bob*"}},
	} {
		w := trio(t)
		asked := w.draft("cid", Add{Instance: w.id("dan"), Role: RoleAdmin})
		w.say(test.second, Endorse{asked.UnsignedHash()})
		good := w.last("cid")
		w.sign("cid", asked)
		w.say("dan", w.move("dan"))
		require.Equal(t, []string{"ann*", "bob*", "cid*", "dan*"}, w.members())
		w.say("founder", Remove{w.id("cid"), good})
		require.Equal(t, test.expected, w.members())
	}
}

// TestHalfAgain: a statement that loses one of its two signatures through a
// removal is half signed again. The signer's own signature has to count.
func TestHalfAgain(t *testing.T) {
	w := trio(t)
	bob, cid := w.last("bob"), w.last("cid")
	w.both("bob", "cid", Add{Instance: w.id("dan"), Role: RoleAdmin})
	w.both("cid", "bob", Add{Instance: w.id("eve"), Role: RoleAdmin})
	w.say("dan", w.move("dan"))
	w.say("eve", w.move("eve"))
	require.Equal(t, []string{"ann*", "bob*", "cid*", "dan*", "eve*"}, w.members())
	w.say("founder", Remove{w.id("cid"), cid})
	require.Equal(t, []string{"ann*", "bob*", "dan"}, w.members())
	w.say("founder", Remove{w.id("bob"), bob})
	require.Equal(t, []string{"ann*"}, w.members())
}

// TestLeavingNarrowsNothing: after a key has left, the statements that it
// signed on other branches still count, whatever the leaving names and whoever
// endorsed it.
func TestLeavingNarrowsNothing(t *testing.T) {
	w := trio(t)
	first := w.last("cid")
	dan := w.join("cid", "dan", RoleMember)
	leave := w.draft("cid", Remove{Instance: w.id("cid")})
	leave.Counter, leave.Previous = 2, first
	w.say("founder", Endorse{leave.UnsignedHash()})
	w.say("ann", Endorse{leave.UnsignedHash()})
	left := w.sign("cid", leave)
	w.after("cid", left, Add{Instance: w.id("eve"), Role: RoleMember})
	w.say("eve", w.move("eve"))
	require.Equal(t, []string{"ann*", "bob*", "dan"}, w.members())
	require.Equal(t, w.id("cid"), w.r.View().Removals[0].By)

	w.after("cid", dan, Add{Instance: w.id("fay"), Role: RoleMember})
	w.say("fay", w.move("fay"))
	require.Equal(t, []string{"ann*", "bob*", "dan", "fay"}, w.members(), "cid's other branch counts as before")
	w.say("founder", Remove{w.id("cid"), w.r.All()[0].Hash()}) // not a statement of cid
	require.Equal(t, []string{"ann*", "bob*"}, w.members())
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

// TestSameNode: instances that state the same node do not displace each other.
func TestSameNode(t *testing.T) {
	w := trio(t)
	w.say("ann", Add{Instance: w.id("dan"), Role: RoleMember})
	w.say("dan", w.home("dan", "ann node", 1))
	require.Equal(t, []string{"ann*", "bob*", "cid*", "dan"}, w.members())
	p, _ := w.r.View().Member(w.id("dan"))
	require.Equal(t, w.id("ann node"), p.Node)

	s, err := w.r.Draft(w.id("eve"), w.home("dan", "ann node", 1), epoch)
	require.NoError(t, err)
	w.say("ann", Add{Instance: w.id("eve"), Role: RoleMember})
	w.sign("eve", s)
	require.NotContains(t, w.members(), "eve", "the node has not signed for eve")
}

// TestMinus: of A and −A, only the smaller one is a member; the other one
// returns when the smaller one is removed.
func TestMinus(t *testing.T) {
	h := newHistory(func(int) int { return 0 })
	a, b := cast()[4], cast()[5]
	if compareKeys(a, b) > 0 {
		a, b = b, a
	}
	h.say(h.founder, Move{})
	for _, id := range []identity.RemoteIdentity{b, a} {
		h.say(h.founder, Add{Instance: id, Role: RoleAdmin})
		h.say(id, at(1))
	}
	v := h.roster(h.signed).View()
	require.Len(t, v.Members, 1)
	require.Equal(t, a, v.Members[0].Instance)
	h.say(h.founder, Remove{a, h.end(a).hash})
	v = h.roster(h.signed).View()
	require.Len(t, v.Members, 1)
	require.Equal(t, b, v.Members[0].Instance)
	require.False(t, v.Removed(b))
}
