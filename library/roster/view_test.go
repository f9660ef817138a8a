package roster

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

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
