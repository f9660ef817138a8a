package main

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
)

// liar returns replicas of a user and of a member that lies. The liar's key is
// the greater one, so its values win among equal stamps.
func liar(t *testing.T, offs ...time.Duration) (user, member *replica, others []*replica) {
	t.Helper()
	for range 100 {
		all := replicas(t, offs...)
		a, b := all[0].author(), all[1].author()
		if bytes.Compare(a[:], b[:]) < 0 {
			return all[0], all[1], all[2:]
		}
	}
	t.Fatal("the liar's key was never the greater one")
	return nil, nil, nil
}

// Everybody who has seen a value of a member can replace it, whatever stamp the
// member gave it and whatever it claims to replace.
func TestPin(t *testing.T) {
	user, member, _ := liar(t, 0, 0)
	n := uuid.New()
	user.title(t, n, "mine")
	meet(t, user, member)
	marks := []Mark{{}, user.all(t)[0].mark(), Mark(bytes.Repeat([]byte{0xff}, len(Mark{})))}
	for _, stamp := range []Stamp{math.MaxUint64, math.MaxUint64 - 1, 1 << 63} {
		require.NoError(t, member.write(func() []Op {
			return []Op{{Kind: edit, Stamp: stamp, Edits: []Edit{{n, Title, marks, "pinned"}, {n, Title, marks, fmt.Sprint("pinned ", stamp)}}}}
		}))
		meet(t, user, member)
		require.Equal(t, fmt.Sprint("pinned ", stamp), user.note(n).Title)
		for i := range 3 {
			user.title(t, n, fmt.Sprint("again ", i))
			require.NoError(t, user.Set(Change{n, Title, "x"}, Change{n, Title, fmt.Sprint("and again ", i)}))
			meet(t, user, member)
			require.Equal(t, fmt.Sprint("and again ", i), member.note(n).Title)
		}
	}
	user.reopen(t)
	require.Equal(t, "and again 2", user.note(n).Title)
	pass(time.Hour, user, member)
	user.remove(t, member, roster.Hash{})
	user.title(t, n, "after the removal")
	require.Equal(t, "after the removal", user.note(n).Title)
}

// A member cannot replace what somebody else will write by naming it in
// advance.
func TestNothingIsReplacedAhead(t *testing.T) {
	user, member, _ := liar(t, 0, 0)
	n := uuid.New()
	for i := range 3 {
		user.title(t, n, fmt.Sprint("mine ", i))
		require.NoError(t, member.write(func() []Op {
			var all []Op
			for j := range 50 {
				o := Op{Author: user.author(), Number: uint64(j + 1), Kind: edit, Stamp: Stamp(j)}
				all = append(all, Op{Kind: edit, Edits: []Edit{{n, Title, []Mark{o.mark(), Mark(o.Author[:16]), {15: byte(j)}}, "theirs"}}})
			}
			return all
		}))
		meet(t, user, member)
		require.Equal(t, fmt.Sprint("mine ", i), member.note(n).Title)
		pass(time.Second, user, member)
	}
}

// A member lies that it has operations of ours that do not exist, and that its
// clock shows 1970. This moves no operation that others have, and moves nothing
// by more than a day.
func TestForeignClock(t *testing.T) {
	user, member, others := liar(t, 0, 0, -10*time.Second)
	other := others[0]
	n := uuid.New()
	other.title(t, n, "older")
	user.title(t, n, "newer") // neither knew of the other's title
	meet(t, user, other)
	lie := func(known uint64, ahead time.Duration) {
		t.Helper()
		before, sure := user.clock.correction, user.clock.sure
		pass(2*HearEvery, user, member, other)
		user.Known(known)
		change, err := user.Hear(member.author(), ahead)
		require.NoError(t, err)
		require.Less(t, change.Abs(), MaxAlone)
		require.Equal(t, sure, user.clock.sure)
		require.Equal(t, before+change, user.clock.correction)
		meet(t, user, other)
		require.Equal(t, "newer", user.note(n).Title)
	}
	user.reopen(t) // it has not heard anybody's clock yet
	for _, known := range []uint64{0, 1, math.MaxUint64} {
		for _, ahead := range []time.Duration{-23 * time.Hour, -user.wall.Sub(time.UnixMilli(0)), math.MinInt64, math.MaxInt64, -MaxAlone, 0} {
			user.clock.Forget(other.author())
			lie(known, ahead)
		}
	}
	for _, s := range user.history(user.author()).shifts {
		require.Greater(t, s.first, uint64(1), "operations that others have must not be moved")
	}
	require.WithinDuration(t, user.wall.Time, user.clock.in(0).Time(), MaxAlone)
}

// A member whose clock shows another time at each visit does not fill our log.
func TestRestlessClock(t *testing.T) {
	user, member, _ := liar(t, 0, 0)
	for i := range 100 {
		_, err := user.Hear(member.author(), -time.Duration(1+i%2*20)*time.Hour)
		require.NoError(t, err)
		user.wall.move(time.Minute)
	}
	require.LessOrEqual(t, user.have(user), 3)
}

// Only members have a say about the time.
func TestStrangersClock(t *testing.T) {
	user := replicas(t, 0)[0]
	for range 5 {
		change, err := user.Hear(author(identity.New().Remote()), -time.Hour)
		require.NoError(t, err)
		require.Zero(t, change)
	}
	require.Empty(t, user.clock.others)
}

// Whatever a device asks for costs a bounded amount, and its counts cause no
// overflow.
func TestWantsTooMuch(t *testing.T) {
	all := replicas(t, 0, 0)
	a, b := all[0], all[1]
	a.title(t, uuid.New(), "a")
	var c Cursor
	a.Want(&c, []Have{{a.author(), math.MaxUint64}, {b.author(), math.MaxUint64 - 1}})
	got, err := a.Next(&c, nil, 1000)
	require.NoError(t, err)
	require.Empty(t, got)
	b.title(t, uuid.New(), "b")
	meet(t, all...)
	got, err = a.Next(&c, nil, 1000)
	require.NoError(t, err)
	require.Empty(t, got)

	c = Cursor{}
	for i := range 3 * MaxAuthors {
		a.Want(&c, []Have{{Author{1, byte(i), byte(i >> 8), byte(i >> 16)}, 0}})
	}
	require.Len(t, c.next, MaxAuthors)
}

// A member that tells two devices different stories does not keep them from
// hearing each other, any more than from hearing the member.
func TestTwoStories(t *testing.T) {
	all := replicas(t, 0, 0, 0, 0)
	a, b, fork := all[0], all[1], all[2]
	n := uuid.New()
	fork.title(t, n, "one story")
	b.get(t, fork, 1000, math.MaxInt)
	other := newReplica(t, t.TempDir(), fork.lib.Record(), fork.id, time.Hour)
	other.title(t, n, "another story")
	a.get(t, other, 1000, math.MaxInt)
	require.NoError(t, other.Close())
	fork.title(t, n, "which goes on")
	b.get(t, fork, 1000, math.MaxInt)
	b.title(t, uuid.UUID{1}, "b")

	var c Cursor
	b.Want(&c, a.Have(a.Wanted()))
	bytes, err := b.Next(&c, nil, math.MaxInt)
	require.NoError(t, err)
	stray := (*StrayError)(nil)
	require.ErrorAs(t, a.Add(ops(t, bytes)), &stray)
	require.Equal(t, fork.id.Remote(), stray.Author)
	require.Equal(t, "b", a.note(uuid.UUID{1}).Title)
	require.Equal(t, "another story", a.note(n).Title)
}

// Nor does a false count move operations that others have when most clocks say
// that ours is off.
func TestKnownTooMuch(t *testing.T) {
	all := replicas(t, 0, 0, -10*time.Minute, -10*time.Minute)
	user, member := all[0], all[1]
	user.title(t, uuid.New(), "others have this")
	for _, o := range all[2:] {
		o.get(t, user, 1000, math.MaxInt)
	}
	user.Known(math.MaxUint64)
	_, err := user.Hear(member.author(), 0)
	require.NoError(t, err)
	for _, o := range all[2:] {
		user.hear(t, o)
	}
	require.Equal(t, -10*time.Minute, user.clock.correction)
	for _, s := range user.history(user.author()).shifts {
		require.Greater(t, s.first, uint64(1), "operations that others have must not be moved")
	}
}
