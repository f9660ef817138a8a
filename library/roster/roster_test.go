package roster

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// A world is a library for tests: keys by name, and one roster.
type world struct {
	t       testing.TB
	r       *Roster
	founder identity.Identity
	keys    map[string]identity.Identity
}

var epoch = time.Unix(1_800_000_000, 0)

func newWorld(t testing.TB) *world {
	w := &world{t: t, keys: map[string]identity.Identity{}}
	w.founder = w.key("founder")
	w.r = New(uuid.MustParse("00000000-0000-4000-8000-000000000001"), w.founder.Remote())
	w.say("founder", Move{})
	return w
}

// key returns the key of a name.
func (w *world) key(name string) identity.Identity {
	id, ok := w.keys[name]
	if !ok {
		seed := make([]byte, identity.SeedSize)
		copy(seed, name)
		var err error
		id, err = identity.FromSeed(seed)
		require.NoError(w.t, err)
		w.keys[name] = id
	}
	return id
}

func (w *world) id(name string) identity.RemoteIdentity { return w.key(name).Remote() }

// say signs a statement and adds it.
func (w *world) say(name string, body Body) Hash {
	s, err := w.r.Sign(w.key(name), body, epoch)
	require.NoError(w.t, err)
	return s.Hash()
}

// after signs a statement that follows another one, and adds it.
func (w *world) after(name string, previous Hash, body Body) Hash {
	s := w.draft(name, body)
	s.Counter, s.Previous = 1, previous
	if p, ok := w.r.Statement(previous); ok {
		s.Counter = p.Counter + 1
	}
	return w.sign(name, s)
}

func (w *world) draft(name string, body Body) Statement {
	s, err := w.r.Draft(w.id(name), body, epoch)
	require.NoError(w.t, err)
	return s
}

func (w *world) sign(name string, s Statement) Hash {
	require.NoError(w.t, s.Sign(w.key(name), w.founder.Remote()))
	_, err := w.r.Add(s)
	require.NoError(w.t, err)
	return s.Hash()
}

// both has one key sign a statement that another one has endorsed.
func (w *world) both(name, second string, body Body) Hash {
	s := w.draft(name, body)
	w.say(second, Endorse{s.UnsignedHash()})
	return w.sign(name, s)
}

// move returns the number 1 of a name: that it has a node of its own.
func (w *world) move(name string) Move {
	return SignMove(w.key(name+" node"), w.founder.Remote(), w.r.Library(), w.id(name), 1)
}

// join has one key add another, which states its node.
func (w *world) join(by, name string, role Role) Hash {
	h := w.say(by, Add{Instance: w.id(name), Role: role, Name: name})
	w.say(name, w.move(name))
	return h
}

// members returns the names of the members, admins with a star.
func (w *world) members() []string {
	var names []string
	for name := range w.keys {
		if p, ok := w.r.View().Member(w.id(name)); ok {
			if p.Role == RoleAdmin {
				name += "*"
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (w *world) last(name string) Hash { return w.r.Last(w.id(name)).Hash }

func TestJoin(t *testing.T) {
	w := newWorld(t)
	require.Empty(t, w.members())
	w.join("founder", "ann", RoleAdmin)
	w.join("ann", "bob", RoleMember)
	require.Equal(t, []string{"ann*", "bob"}, w.members())

	w.say("bob", Add{Instance: w.id("eve"), Role: RoleMember})
	w.say("ann", Add{Instance: w.id("dan"), Role: RoleMember}) // dan has not stated its node
	require.Equal(t, []string{"ann*", "bob"}, w.members(), "a plain member cannot add a member")
	w.say("dan", w.move("dan"))
	require.Equal(t, []string{"ann*", "bob", "dan"}, w.members())

	p, ok := w.r.View().Member(w.id("bob"))
	require.True(t, ok)
	require.Equal(t, Member{Instance: w.id("bob"), Node: w.id("bob node"), Name: "bob", Role: RoleMember, Added: epoch, By: w.id("ann")}, p)
}

func TestAdminRule(t *testing.T) {
	w := newWorld(t)
	w.join("founder", "ann", RoleAdmin)
	w.join("ann", "bob", RoleAdmin)
	require.Equal(t, []string{"ann*", "bob"}, w.members(), "an add by one admin makes a member, not an admin")
	w.join("founder", "cid", RoleAdmin)
	w.both("ann", "cid", Add{Instance: w.id("bob"), Role: RoleAdmin, Name: "bob"})
	require.Equal(t, []string{"ann*", "bob*", "cid*"}, w.members())

	w.say("ann", Remove{Instance: w.id("bob")})
	require.Equal(t, []string{"ann*", "bob*", "cid*"}, w.members(), "one admin cannot remove another")
	w.both("ann", "bob", Remove{Instance: w.id("bob")})
	require.Equal(t, []string{"ann*", "bob*", "cid*"}, w.members(), "the target's own endorsement does not count")
	w.both("ann", "cid", Remove{Instance: w.id("bob"), Last: w.last("bob")})
	require.Equal(t, []string{"ann*", "cid*"}, w.members())
	w.both("ann", "cid", Add{Instance: w.id("bob"), Role: RoleAdmin})
	require.Equal(t, []string{"ann*", "cid*"}, w.members(), "a removal is permanent")
}

// TestStolenKey: the thief of one admin key can remove only plain members,
// until the founder or two admins remove the key.
func TestStolenKey(t *testing.T) {
	for _, answer := range []string{"the founder", "two admins"} {
		t.Run(answer, func(t *testing.T) {
			w := newWorld(t)
			for _, name := range []string{"ann", "bob", "cid"} {
				w.join("founder", name, RoleAdmin)
			}
			w.join("cid", "dan", RoleMember)
			before, good := w.members(), w.last("cid")
			w.say("cid", Remove{Instance: w.id("dan")})
			w.say("cid", Remove{Instance: w.id("ann")})
			for i := range 5 {
				w.join("cid", fmt.Sprint("sybil", i), RoleAdmin)
			}
			w.after("cid", Hash{}, SignMove(w.key("thief node"), w.founder.Remote(), w.r.Library(), w.id("cid"), 1))
			w.both("cid", "sybil0", Remove{Instance: w.id("ann")})
			require.Equal(t, []string{"ann*", "bob*", "cid*", "sybil0", "sybil1", "sybil2", "sybil3", "sybil4"}, w.members())
			require.Equal(t, []identity.RemoteIdentity{w.id("cid")}, w.r.View().Forked)

			if answer == "the founder" {
				w.say("founder", Remove{w.id("cid"), good})
			} else {
				w.both("ann", "bob", Remove{w.id("cid"), good})
			}
			w.say("cid", Remove{Instance: w.id("bob")})
			require.Equal(t, slices.DeleteFunc(before, func(s string) bool { return s == "cid*" }), w.members())
		})
	}
}

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

// TestStrangersCostNothing: at most 256 of the statements that are skipped are
// verified, but every statement that is taken is, wherever it stands.
func TestStrangersCostNothing(t *testing.T) {
	w := trio(t)
	junk := func(n int) (all []Statement) { // unsigned, in the names of strangers
		for i := range n {
			key := testKey(fmt.Sprint("junk ", i))
			s := Statement{Kind: KindMove, Library: w.r.Library(), Signer: key.Remote(), Counter: 1}
			all = append(all, s)
		}
		return all
	}
	signed := junk(maxIdle)
	for i := range signed {
		require.NoError(t, signed[i].Sign(testKey(fmt.Sprint("junk ", i)), w.r.Founder()))
	}
	_, err := w.r.Add(junk(1)...)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = w.r.Add(append(signed, junk(1000)[maxIdle:]...)...)
	require.NoError(t, err, "skipped statements beyond the limit are not verified")

	before := w.r.Len()
	draft := func(name string) Statement {
		s, err := w.r.Draft(w.id(name), Secret{Number: 9}, epoch)
		require.NoError(t, err)
		return s
	}
	forged := draft("cid")
	_, err = w.r.Add(append(append(signed, junk(1000)[maxIdle:]...), forged)...)
	require.ErrorIs(t, err, ErrInvalid, "a forged statement of a member is verified")
	require.Equal(t, before, w.r.Len())

	// A stranger that a forged statement adds does not count as skipped.
	added, err := w.r.Draft(w.id("bob"), Add{Instance: testKey("junk 0").Remote(), Role: RoleMember}, epoch)
	require.NoError(t, err)
	_, err = w.r.Add(append(junk(1), added)...)
	require.ErrorIs(t, err, ErrInvalid)
	require.Equal(t, before, w.r.Len())

	// A move that its node has not signed is kept, but has no effect.
	bad := w.home("cid", "cid new", w.r.Last(w.id("cid")).Counter+1)
	bad.Signature[0]++
	at, _ := w.r.View().Member(w.id("cid"))
	_, err = w.r.Sign(w.key("cid"), bad, epoch)
	require.NoError(t, err)
	require.Equal(t, before+1, w.r.Len())
	still, _ := w.r.View().Member(w.id("cid"))
	require.Equal(t, at, still)
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
