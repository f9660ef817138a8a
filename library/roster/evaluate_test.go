package roster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

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
