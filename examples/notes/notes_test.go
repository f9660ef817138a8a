package main

import (
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
)

// A replica is a store with a clock and a library of its own, but without a
// node. Function calls exchange its data.
type replica struct {
	*Store
	folder string
	id     identity.Identity // the instance's identity
	lib    *library.Library
	wall   *hand
	group  *[]*replica // all replicas of the library
}

// newRecord returns the record of a library that an instance has made.
func newRecord(t require.TestingT, instance, node identity.Identity) library.Record {
	r := library.Record{ID: uuid.New(), Name: "Notes", Founder: instance.Remote(), Secret: library.NewSecret(), Number: 1, Replaced: time.Now()}
	all := roster.New(r.ID, r.Founder)
	_, err := all.Sign(instance, roster.SignMove(node, r.Founder, r.ID, r.Founder, 1), r.Replaced)
	require.NoError(t, err)
	_, err = all.Sign(instance, roster.Secret{Number: 1, Hash: roster.HashSecret(r.Secret.Bytes())}, r.Replaced)
	require.NoError(t, err)
	r.Statements = all.All()
	return r
}

func newReplica(t require.TestingT, folder string, record library.Record, id identity.Identity, off time.Duration) *replica {
	lib, err := library.New(library.Config{}).Add(record, id)
	require.NoError(t, err)
	r := &replica{folder: folder, id: id, lib: lib, wall: newHand(off)}
	r.open(t)
	return r
}

// group makes replicas in folders. The first one is the founder and the only
// admin.
func group(t require.TestingT, folder func() string, offs ...time.Duration) []*replica {
	var all []*replica
	for i, off := range offs {
		id, node := identity.New(), identity.New()
		record := newRecord(t, id, node)
		if i > 0 {
			record = all[0].admit(t, id, node)
		}
		r := newReplica(t, folder(), record, id, off)
		r.group = &all
		all = append(all, r)
	}
	statements(t, all...)
	return all
}

// admit makes an instance a member, and returns the record with which the
// instance begins.
func (r *replica) admit(t require.TestingT, id, node identity.Identity) library.Record {
	record := r.lib.Record()
	first, err := record.First(node, id)
	require.NoError(t, err)
	_, err = r.lib.Admit(first, library.RoleMember, "", library.RecoveryKey{})
	require.NoError(t, err)
	return r.lib.Record()
}

func replicas(t testing.TB, offs ...time.Duration) []*replica {
	all := group(t, t.TempDir, offs...)
	t.Cleanup(func() {
		for _, r := range all {
			r.Close()
		}
	})
	return all
}

func (r *replica) open(t require.TestingT) {
	var err error
	r.Store, _, err = OpenStore(r.folder, r.lib, r.wall.now)
	require.NoError(t, err)
}

func (r *replica) reopen(t testing.TB) {
	require.NoError(t, r.Close())
	r.open(t)
}

func (r *replica) author() Author { return author(r.id.Remote()) }

func (r *replica) Notes() []Note {
	all, err := r.Store.Notes()
	if err != nil {
		panic(err)
	}
	return all
}

func (r *replica) Digest() [32]byte {
	sum, err := r.Store.Digest()
	if err != nil {
		panic(err)
	}
	return sum
}

// statements lets replicas exchange what they know about who belongs to the
// library.
func statements(t require.TestingT, all ...*replica) {
	for range 2 {
		for _, r := range all {
			for _, o := range all {
				require.NoError(t, r.lib.Learn(o.lib.Record().Statements))
			}
			require.NoError(t, r.Heed())
		}
	}
}

// remove removes a member, as an admin's device does. If the member has signed
// statements, those up to last stay.
func (r *replica) remove(t require.TestingT, who *replica, last roster.Hash) {
	require.NoError(t, r.lib.Remove(who.id.Remote(), library.RemoveOptions{KeepSecret: true, Last: last}))
	r.settle(t)
}

// settle writes a device's word on the members that it has removed.
func (r *replica) settle(t require.TestingT) {
	require.NoError(t, r.Heed())
	own, _ := r.Unsettled()
	for _, removal := range own {
		require.NoError(t, r.Revoke(removal))
	}
}

func (r *replica) have(of *replica) int { return len(r.history(of.author()).at) }

func (r *replica) counts(of *replica) uint64 { return r.standing[of.author()].counts }

// ops decodes operations from the bytes of a store.
func ops(t require.TestingT, b []byte) (all []Op) {
	r := bytes.NewReader(b)
	for d := proto.NewDecoder(r); ; {
		var o Op
		d.Reset(r)
		err := o.DecodeFrom(d)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return all // the last operation is cut off
		}
		require.NoError(t, err)
		all = append(all, o)
	}
}

// get gets what is new from another replica, in steps of so many bytes and at
// most so many bytes in all, and returns how many operations came.
func (r *replica) get(t require.TestingT, from *replica, step, most int) (n int) {
	require.NoError(t, r.Heed())
	require.NoError(t, from.Heed())
	var c Cursor
	from.Want(&c, r.Have(r.Wanted()))
	for most > 0 {
		b, err := from.Next(&c, nil, step)
		require.NoError(t, err)
		if len(b) == 0 {
			break
		}
		require.Less(t, len(b), step+MaxOp)
		all := ops(t, b[:min(most, len(b))])
		most -= len(b)
		n += len(all)
		require.NoError(t, r.Add(all))
	}
	return n
}

// hear lets two replicas hear each other's clocks, as devices do when they
// meet.
func (r *replica) hear(t require.TestingT, from *replica) {
	for _, h := range from.Have(map[Author]uint64{r.author(): 0}) {
		r.Known(h.Count)
	}
	_, err := r.Hear(from.author(), from.wall.Sub(r.wall.Time))
	require.NoError(t, err)
}

// meet lets replicas exchange everything that they have.
func meet(t require.TestingT, all ...*replica) {
	for _, r := range all {
		for _, o := range all {
			if r != o {
				r.hear(t, o)
			}
		}
	}
	for range all { // what a replica gets in one round, it hands on in the next
		for _, r := range all {
			for _, o := range all {
				if r != o {
					r.get(t, o, 1000, math.MaxInt)
				}
			}
		}
	}
	for _, r := range all {
		require.Equal(t, all[0].Notes(), r.Notes())
		require.Equal(t, all[0].Digest(), r.Digest())
	}
}

func (r *replica) note(id uuid.UUID) Note {
	for _, n := range r.Notes() {
		if n.ID == id {
			return n
		}
	}
	return Note{}
}

func (r *replica) title(t require.TestingT, id uuid.UUID, text string) {
	require.NoError(t, r.Set(Change{id, Title, text}))
	require.Equal(t, text, r.note(id).Title, "a device must show what it has just written")
}

// pass moves all clocks forward.
func pass(d time.Duration, all ...*replica) {
	for _, r := range all {
		r.wall.move(d)
	}
}

func TestLastWriterWins(t *testing.T) {
	all := replicas(t, 0, 0, 0)
	a, b, c := all[0], all[1], all[2]
	n := uuid.New()
	a.title(t, n, "a")
	pass(time.Second, all...)
	b.title(t, n, "b")
	require.NoError(t, c.Set(Change{n, Body, "c"}, Change{n, Body, "c later"}, Change{n, Deleted, "yes"}))
	meet(t, all...)
	require.Equal(t, Note{n, "b", "c later", true}, a.note(n))
	require.NoError(t, a.Set(Change{n, Deleted, ""}))
	meet(t, all...)
	require.Equal(t, Note{n, "b", "c later", false}, c.note(n))

	// When all write at the same moment, the same value wins everywhere.
	a.title(t, n, "a")
	b.title(t, n, "b")
	c.title(t, n, "c")
	meet(t, all...)
	before := a.Notes()
	for _, r := range all {
		r.reopen(t)
		require.Equal(t, before, r.Notes())
	}
	require.Error(t, a.Set(Change{n, Title, "good"}, Change{n, Field(4), "bad"}))
	require.Error(t, a.Set(Change{n, Title, "\xff"}))
	require.Error(t, a.Set(Change{n, Title, strings.Repeat("x", MaxValue+1)}))
	require.NoError(t, a.Set())
	require.Equal(t, before, a.Notes(), "a failed Set must change nothing")
	a.title(t, n, "later")
	meet(t, all...)
}

// An edit by a device whose clock is ahead never wins against an edit by
// somebody who has seen it, on any device.
func TestClockAhead(t *testing.T) {
	for _, off := range []time.Duration{10 * time.Minute, 100 * 365 * 24 * time.Hour} {
		all := replicas(t, 0, off, 0)
		right, ahead, third := all[0], all[1], all[2]
		n := uuid.New()
		ahead.title(t, n, "ahead")
		// Nobody tells anybody what the clocks show.
		right.get(t, ahead, 1000, math.MaxInt)
		pass(time.Second, all...)
		right.title(t, n, "later")
		pass(time.Second, all...)
		other := uuid.New()
		right.title(t, other, "not ahead")
		require.Less(t, right.notes[other][Title-1].now().stamp, At(right.wall.Add(Drift)), "the clock must not follow the one that is ahead")
		for range 3 {
			third.get(t, right, 1000, math.MaxInt)
			ahead.get(t, right, 1000, math.MaxInt)
		}
		pass(off, all...) // also when the time comes that the clock showed
		for _, r := range all {
			require.Equal(t, "later", r.note(n).Title)
		}
		pass(time.Second, all...)
		third.title(t, n, "latest")
		meet(t, all...)
		require.Equal(t, "latest", ahead.note(n).Title)
	}
}

// Nor does it win where neither device has seen the other's edits: neither
// edits made before the devices met, nor edits made while they are apart again,
// even after the programs were started again.
func TestClockAheadApart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		offs  []time.Duration
		wrong int
	}{
		{[]time.Duration{0, 10 * time.Minute}, 1}, {[]time.Duration{10 * time.Minute, 0}, 0},
		{[]time.Duration{0, 10 * time.Minute, 0}, 1}, {[]time.Duration{0, 0, -10 * time.Minute}, 2},
		{[]time.Duration{0, 10 * 365 * 24 * time.Hour, 0, 0}, 1},
	} {
		all := replicas(t, test.offs...)
		wrong, other := all[test.wrong], all[(test.wrong+1)%len(all)]
		for round := range 4 {
			n, first, second := uuid.New(), wrong, other
			if test.offs[test.wrong] < 0 {
				first, second = other, wrong
			}
			first.title(t, n, "first")
			pass(2*time.Minute, all...)
			second.title(t, n, "second")
			pass(time.Minute, all...)
			meet(t, all...)
			for i, r := range all {
				require.Equal(t, "second", r.note(n).Title, "%v, round %d, device %d", test.offs, round, i)
			}
			if round == 1 {
				for _, r := range all {
					r.reopen(t)
				}
			}
		}
		require.Len(t, wrong.history(wrong.author()).shifts, 1, "the shift must be written once")
		require.Equal(t, len(all) > 2, wrong.clock.sure)
		require.InDelta(t, -test.offs[test.wrong], wrong.clock.correction, float64(time.Second))

		wrong.wall.move(-test.offs[test.wrong]) // the user sets the clock right
		for range 3 {
			n := uuid.New()
			wrong.title(t, n, "first")
			pass(2*time.Minute, all...)
			other.title(t, n, "second")
			pass(time.Minute, all...)
			wrong.reopen(t)
			meet(t, all...)
			require.Equal(t, "second", other.note(n).Title)
			require.Zero(t, wrong.clock.correction)
			require.Less(t, wrong.notes[n][Title-1].now().stamp, At(wrong.wall.Add(Drift)))
		}
	}
}

// Only operations that nobody had heard of are moved.
func TestShiftWhat(t *testing.T) {
	all := replicas(t, 0, 0)
	a, b := all[0], all[1]
	b.title(t, uuid.New(), "in time")
	meet(t, all...)
	b.reopen(t)
	b.wall.move(10 * time.Minute)
	b.title(t, uuid.New(), "10 minutes too early")
	meet(t, all...)
	require.Equal(t, []span{{2, 3, -600_000}}, a.history(b.author()).shifts)
}

// A shift keeps an edit behind the edit that it replaced.
func TestShiftKeepsOrder(t *testing.T) {
	all := replicas(t, 0, 10*time.Minute)
	a, b := all[0], all[1]
	n := uuid.New()
	a.title(t, n, "before")
	b.get(t, a, 1000, math.MaxInt)
	a.wall.move(-time.Hour) // b only hears that its clock is an hour ahead
	b.title(t, n, "after")
	meet(t, all...)
	require.Equal(t, "after", a.note(n).Title)
	b.reopen(t)
	meet(t, all...)
}

// A shift also keeps the order of two changes in one operation.
func TestShiftKeepsOrderWithin(t *testing.T) {
	all := replicas(t, -10*time.Minute, 0, 0)
	n := uuid.New()
	require.NoError(t, all[0].Set(Change{n, Title, "first"}, Change{n, Title, "second"}))
	meet(t, all...)
	require.Len(t, all[1].history(all[0].author()).shifts, 1)
	require.Equal(t, "second", all[1].note(n).Title)
}

func TestInvalidShifts(t *testing.T) {
	all := replicas(t, 0, 0)
	a, b := all[0], all[1]
	n := uuid.New()
	a.title(t, n, "a")
	for _, first := range []uint64{0, 1, 2, 3, 99} {
		require.NoError(t, a.Store.write(func() []Op { return []Op{{Kind: shift, First: first, MS: -1000}} }))
	}
	meet(t, all...)
	require.Equal(t, []span{{0, 2, -1000}, {3, 5, -1000}}, b.history(a.author()).shifts)
	require.Equal(t, b.Digest(), a.Digest())
}

func TestAddRefuses(t *testing.T) {
	all := replicas(t, 0, 0, 0)
	a, b, c := all[0], all[1], all[2]
	for i := range 5 {
		a.title(t, uuid.UUID{byte(i)}, "x")
	}
	good := a.all(t)
	require.Len(t, good, 5)

	stranger := replicas(t, 0)[0]
	require.NoError(t, stranger.Add(good))
	require.Empty(t, stranger.Notes(), "its author is no member")
	stray := (*StrayError)(nil)
	require.ErrorAs(t, b.Add(good[1:]), &stray)
	require.ErrorContains(t, stray, "operation 2 follows on 0")
	require.Equal(t, a.id.Remote(), stray.Author)
	bad := append([]Op{}, good...)
	bad[2].Edits = []Edit{{Field: Title, Value: "y"}}
	require.ErrorIs(t, b.Add(bad), errForged)
	require.Len(t, b.Notes(), 2, "operations before the stray one must be there")
	c.title(t, uuid.UUID{15: 1}, "c")
	require.ErrorIs(t, b.Add(append(bad[2:], c.all(t)...)), errForged)
	require.Len(t, b.Notes(), 3, "the operations of others must be there")
	require.NoError(t, b.Add(good))
	require.NoError(t, b.Add(good), "again")
	a.get(t, c, 1000, math.MaxInt)
	require.Equal(t, a.Digest(), b.Digest())
	require.Equal(t, 5, b.have(a))
}

// A device whose files were restored from a copy gets its own operations back.
// If it has written different ones before that, this is noticed.
func TestRestoredCopy(t *testing.T) {
	all := replicas(t, 0, 0)
	a, b := all[0], all[1]
	n := uuid.New()
	a.title(t, n, "1")
	path := filepath.Join(a.folder, "notes.log")
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	a.title(t, n, "2")
	meet(t, all...)
	restore := func() {
		require.NoError(t, a.Close())
		require.NoError(t, os.WriteFile(path, old, 0o600))
		a.open(t)
		require.Equal(t, "1", a.note(n).Title)
	}
	restore()
	meet(t, all...)
	require.Equal(t, "2", a.note(n).Title)
	a.title(t, n, "3")
	meet(t, all...)

	restore()
	for range 3 {
		a.title(t, n, "another 2, 3 and 4")
	}
	var c Cursor
	a.Want(&c, b.Have(map[Author]uint64{a.author(): 0}))
	forked, err := a.Next(&c, nil, 1000)
	require.NoError(t, err)
	require.ErrorIs(t, b.Add(ops(t, forked)), errForged)
}

func TestDamagedStore(t *testing.T) {
	r := replicas(t, 0)[0]
	r.title(t, uuid.New(), "a")
	r.title(t, uuid.New(), "b")
	require.NoError(t, r.Close())
	path := filepath.Join(r.folder, "notes.log")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[logHeader+100] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o600))
	_, _, err = OpenStore(r.folder, r.lib, r.wall.now)
	require.ErrorContains(t, err, "notes.log is damaged at byte 32")
	b[logHeader+100] ^= 1
	require.NoError(t, os.WriteFile(path, b[:len(b)-1], 0o600))
	_, cut, err := OpenStore(r.folder, r.lib, r.wall.now)
	require.NoError(t, err)
	require.NotZero(t, cut)
}
