package main

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
)

// promote makes members admins, on behalf of the founder.
func promote(t *testing.T, founder *replica, who ...*replica) {
	t.Helper()
	for _, r := range who {
		require.NoError(t, founder.lib.Promote(r.id.Remote(), library.RecoveryKey{}))
	}
	statements(t, append(who, founder)...)
}

// says writes a revocation, even one that the rules do not provide for.
func (r *replica) says(t *testing.T, removal roster.Hash, count uint64) {
	t.Helper()
	require.NoError(t, r.write(func() []Op {
		return []Op{{Kind: revoke, Removal: removal, Count: count, Stamp: r.clock.Tick()}}
	}))
}

// removal returns the hash of the statement that has removed a member.
func (r *replica) removal(t *testing.T, of *replica) roster.Hash {
	t.Helper()
	all := r.lib.Roster().Removals
	i := slices.IndexFunc(all, func(o roster.Removal) bool { return o.Instance == of.id.Remote() })
	require.GreaterOrEqual(t, i, 0)
	return all[i].Hash
}

// last returns the hash of the last statement that replica of has signed, as r
// knows it.
func (r *replica) last(of *replica) (h roster.Hash) {
	for _, s := range r.lib.Record().Statements {
		if s.Signer == of.id.Remote() {
			h = s.Hash()
		}
	}
	return h
}

// Operations of a revoked device count if it wrote them before an admin revoked
// it, as far as the admin knows, and no later ones count: on each device, and
// in whatever order they arrive. The admin need not be the founder.
func TestRevoke(t *testing.T) {
	all := replicas(t, 0, 0, 0, 0, 0)
	founder, admin, thief, friend, late := all[0], all[1], all[2], all[3], all[4]
	promote(t, founder, admin)
	n := uuid.New()
	thief.title(t, n, "before")
	meet(t, founder, admin, thief, friend)
	pass(time.Hour, all...)
	thief.title(t, n, "not heard by the admin")
	friend.get(t, thief, 1000, math.MaxInt)
	require.Equal(t, "not heard by the admin", friend.note(n).Title)

	require.ErrorIs(t, friend.lib.Remove(thief.id.Remote(), library.RemoveOptions{}), library.ErrNotAdmin)
	require.ErrorIs(t, friend.Revoke(roster.Removal{Instance: thief.id.Remote()}), library.ErrNotAdmin)
	admin.remove(t, thief, roster.Hash{})
	pass(time.Hour, all...)
	thief.title(t, n, "later")
	// An operation that counts is not moved.
	require.NoError(t, thief.write(func() []Op { return []Op{{Kind: shift, First: 1, MS: 1e9}} }))
	removal := admin.removal(t, thief)
	thief.says(t, removal, math.MaxUint64)
	statements(t, thief, friend, late) // none of them has heard of the removal
	friend.get(t, thief, 1000, math.MaxInt)

	statements(t, admin, friend)
	require.Equal(t, "later", friend.note(n).Title, "nobody has said yet how much counts")
	friend.says(t, removal, 0) // a device that is no admin cannot say so
	friend.get(t, admin, 1000, math.MaxInt)
	require.Equal(t, "before", friend.note(n).Title)
	late.get(t, thief, 1000, math.MaxInt) // late has not heard of it, and takes more
	require.Equal(t, "later", late.note(n).Title)
	statements(t, founder, admin, friend, late)
	meet(t, founder, admin, friend, late)
	require.Equal(t, "before", late.note(n).Title)
	require.EqualValues(t, founder.counts(thief), founder.have(thief), "what does not count is not handed on")
	for _, r := range []*replica{founder, admin, friend, late} {
		before := r.have(thief)
		r.get(t, thief, 1000, math.MaxInt)
		require.Equal(t, before, r.have(thief))
		r.reopen(t)
		require.Equal(t, "before", r.note(n).Title)
	}
	statements(t, all...)
	require.ErrorIs(t, thief.Set(Change{n, Title, "I was here"}), library.ErrNotMember)

	last := newReplica(t, t.TempDir(), friend.lib.Record(), friend.id, 0)
	require.NoError(t, last.Add(append(admin.all(t), thief.all(t)...))) // in one batch
	require.Equal(t, admin.Digest(), last.Digest())
	require.NoError(t, last.Close())
	founder.title(t, n, "after")
	meet(t, founder, admin, friend, late)
}

// A thief with an admin's key removes members, says that nothing of what they
// wrote counts, and changes what the key's owner had said about somebody else.
// All of this is undone when the founder removes the admin and names its last
// honest statement.
func TestStolenAdmin(t *testing.T) {
	all := replicas(t, 0, 0, 0, 0)
	founder, admin, victim, lost := all[0], all[1], all[2], all[3]
	promote(t, founder, admin)
	theirs, ours := uuid.New(), uuid.New()
	lost.title(t, theirs, "of a device that was lost")
	victim.title(t, ours, "the victim's")
	meet(t, all...)
	admin.remove(t, lost, roster.Hash{})
	statements(t, all...)
	meet(t, founder, admin, victim)
	honest := admin.last(admin)

	admin.says(t, admin.removal(t, lost), 0)
	admin.remove(t, victim, roster.Hash{})
	admin.says(t, admin.removal(t, victim), 0)
	other := uuid.New()
	pass(time.Second, all...)
	victim.title(t, other, "not heard by the thief")
	statements(t, founder, admin, victim)
	founder.get(t, admin, 1000, math.MaxInt)
	require.Equal(t, "of a device that was lost", founder.note(theirs).Title, "the admin's first word must count")
	founder.get(t, victim, 1000, math.MaxInt)
	require.Empty(t, founder.note(other).Title)

	founder.remove(t, admin, honest)
	statements(t, founder, victim)
	meet(t, founder, victim)
	require.Equal(t, "the victim's", victim.note(ours).Title)
	require.Equal(t, "not heard by the thief", founder.note(other).Title)
	require.Equal(t, "of a device that was lost", victim.note(theirs).Title, "what the owner of the key had said must stay")
	founder.reopen(t)
	meet(t, founder, victim)
}

// A thief with an admin's key can lower the counts that others have set, until
// the key is removed.
func TestWordOfThief(t *testing.T) {
	all := replicas(t, 0, 0, 0, 0)
	founder, admin, lost, friend := all[0], all[1], all[2], all[3]
	promote(t, founder, admin)
	n := uuid.New()
	lost.title(t, n, "lost")
	meet(t, all...)
	founder.remove(t, lost, roster.Hash{})
	statements(t, founder, admin, friend)
	meet(t, founder, admin, friend)
	admin.says(t, admin.removal(t, lost), 0)
	meet(t, founder, admin, friend)
	require.Empty(t, friend.note(n).Title, "among several counts, the smallest must apply")
	founder.remove(t, admin, roster.Hash{})
	statements(t, founder, friend)
	meet(t, founder, friend)
	require.Equal(t, "lost", friend.note(n).Title)
}

// What an admin has said still applies after the admin was removed, until
// another admin says something else.
func TestWordOfFormerAdmin(t *testing.T) {
	all := replicas(t, 0, 0, 0, 0)
	founder, admin, lost, friend := all[0], all[1], all[2], all[3]
	promote(t, founder, admin)
	n := uuid.New()
	lost.title(t, n, "before")
	meet(t, all...)
	honest := admin.last(admin)
	admin.remove(t, lost, roster.Hash{})
	pass(time.Second, all...)
	lost.title(t, n, "after")
	friend.get(t, lost, 1000, math.MaxInt)
	founder.get(t, lost, 1000, math.MaxInt)
	statements(t, founder, admin, friend)
	meet(t, founder, admin, friend)
	founder.remove(t, admin, honest)
	require.Equal(t, "after", founder.note(n).Title, "the device must belong to the library again")

	founder.reopen(t)
	founder.remove(t, lost, roster.Hash{})
	statements(t, founder, friend)
	meet(t, founder, friend)
	require.Equal(t, "after", friend.note(n).Title)

	all = replicas(t, 0, 0, 0)
	founder, admin, lost = all[0], all[1], all[2]
	promote(t, founder, admin)
	lost.title(t, n, "before")
	meet(t, all...)
	admin.remove(t, lost, roster.Hash{})
	pass(time.Second, all...)
	lost.title(t, n, "after")
	founder.get(t, lost, 1000, math.MaxInt)
	statements(t, founder, admin)
	meet(t, founder, admin)
	founder.remove(t, admin, founder.last(admin)) // all statements that the admin has signed stay
	require.Equal(t, "before", founder.note(n).Title)
	own, others := founder.Unsettled()
	require.Empty(t, own)
	require.Len(t, others, 1)
	require.NoError(t, founder.Revoke(others[0]))
	_, others = founder.Unsettled()
	require.Empty(t, others)
	require.Equal(t, "before", founder.note(n).Title)
}

// Members whom a removed admin had added after its last honest statement are
// removed together with it: what they wrote counts nowhere until they are added
// again.
func TestFallenOut(t *testing.T) {
	all := replicas(t, 0, 0, 0)
	founder, admin, friend := all[0], all[1], all[2]
	promote(t, founder, admin)
	statements(t, all...)
	honest := admin.last(admin)
	id, node := identity.New(), identity.New()
	brought := newReplica(t, t.TempDir(), admin.admit(t, id, node), id, 0)
	brought.group = &all
	defer func() { brought.Close() }()
	n := uuid.New()
	brought.title(t, n, "brought")
	statements(t, founder, admin, friend, brought)
	meet(t, founder, admin, friend, brought)
	founder.remove(t, admin, honest)
	statements(t, founder, friend, brought)
	require.Empty(t, founder.note(n).Title)
	require.ErrorIs(t, brought.Set(Change{n, Title, "x"}), library.ErrNotMember)
	meet(t, founder, friend)

	founder.admit(t, id, node)
	require.Equal(t, "brought", founder.note(n).Title)
	statements(t, founder, friend, brought)
	brought.title(t, n, "again")
	meet(t, founder, friend, brought)
	require.Equal(t, "again", friend.note(n).Title)
}

// The operations of a member who left all count, until an admin says how many
// do.
func TestLeft(t *testing.T) {
	all := replicas(t, 0, 0, 0)
	founder, leaver, friend := all[0], all[1], all[2]
	n := uuid.New()
	leaver.title(t, n, "leaver")
	meet(t, all...)
	require.NoError(t, leaver.lib.Leave())
	require.ErrorIs(t, leaver.Set(Change{n, Title, "x"}), library.ErrNotMember)
	statements(t, all...)
	own, others := founder.Unsettled()
	require.Empty(t, own)
	require.Len(t, others, 1)
	require.NoError(t, founder.Revoke(others[0]))
	meet(t, founder, friend)
	require.EqualValues(t, founder.have(leaver), friend.counts(leaver))
	require.Equal(t, "leaver", friend.note(n).Title)
}

// No device has a say about itself, not even with the key that it had as an
// admin.
func TestOwnWord(t *testing.T) {
	all := replicas(t, 0, 0)
	founder, admin := all[0], all[1]
	promote(t, founder, admin)
	n := uuid.New()
	admin.title(t, n, "mine")
	meet(t, all...)
	require.NoError(t, admin.lib.Leave())
	founder.lib.Promote(admin.id.Remote(), library.RecoveryKey{})
	statements(t, all...)
	word := Op{Author: admin.author(), Number: uint64(admin.have(admin)) + 1, Kind: revoke, Removal: founder.removal(t, admin)}
	require.NoError(t, word.sign(admin.lib, admin.history(admin.author()).signature))
	require.NoError(t, founder.Add([]Op{word}))
	require.Equal(t, "mine", founder.note(n).Title)
}

// The word of a removed admin counts only if it is among the operations of this
// admin that count.
func TestLateWord(t *testing.T) {
	all := replicas(t, 0, 0, 0)
	founder, admin, lost := all[0], all[1], all[2]
	promote(t, founder, admin)
	require.NoError(t, admin.lib.Remove(lost.id.Remote(), library.RemoveOptions{KeepSecret: true}))
	statements(t, founder, admin)
	require.NoError(t, founder.lib.Remove(admin.id.Remote(), library.RemoveOptions{KeepSecret: true}))
	onAdmin := revocation{founder.author(), 1, founder.removal(t, admin), 7}
	onLost := revocation{admin.author(), 7, founder.removal(t, lost), 3}
	standings, settled := stand(founder.lib.Roster(), []revocation{onAdmin, onLost})
	require.EqualValues(t, 3, standings[lost.author()].counts)
	require.Equal(t, map[Author]bool{admin.author(): true}, settled)
	onLost.number++
	standings, _ = stand(founder.lib.Roster(), []revocation{onLost, onAdmin})
	require.EqualValues(t, uint64(everything), standings[lost.author()].counts)
	require.EqualValues(t, 7, standings[admin.author()].counts)
}

// A cursor that has skipped operations gives them once they count.
func TestCountsAgain(t *testing.T) {
	all := replicas(t, 0, 0, 0)
	founder, admin, victim := all[0], all[1], all[2]
	promote(t, founder, admin)
	statements(t, all...)
	victim.title(t, uuid.New(), "1")
	victim.title(t, uuid.New(), "2")
	meet(t, founder, victim)
	var c Cursor
	honest := admin.last(admin)
	admin.remove(t, victim, roster.Hash{}) // admin has nothing of victim
	statements(t, founder, admin)
	founder.get(t, admin, 1000, math.MaxInt)
	founder.Want(&c, []Have{{victim.author(), 0}})
	got, err := founder.Next(&c, nil, 1000)
	require.NoError(t, err)
	require.Empty(t, got)
	founder.remove(t, admin, honest)
	got, err = founder.Next(&c, nil, 1000)
	require.NoError(t, err)
	require.Len(t, ops(t, got), 2)
}

func TestConsistent(t *testing.T) {
	asked := map[Author]uint64{}
	a, b := Author{1}, Author{2}
	require.True(t, consistent(asked, map[Author]uint64{a: everything}))
	require.True(t, consistent(asked, map[Author]uint64{a: everything, b: everything}), "a new member")
	require.True(t, consistent(asked, map[Author]uint64{a: 5, b: everything}), "a removal")
	require.True(t, consistent(asked, map[Author]uint64{a: 5}), "a member fell out")
	require.False(t, consistent(asked, map[Author]uint64{a: 6}), "more counts")
	require.False(t, consistent(asked, map[Author]uint64{a: 5, b: 1}), "a member is back")
}
