package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
)

// A rig has some devices on a network in memory.
type rig struct {
	t       *testing.T
	network *p2ptest.Network
	devices []*Device
	key     library.RecoveryKey // the recovery key of their notebook
}

// bubble runs a test with devices that share one notebook, each with a clock
// that is off by the given duration. The first device has founded the notebook.
func bubble(t *testing.T, test func(t *testing.T, r *rig), offs ...time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, network: p2ptest.NewNetwork(p2ptest.Config{})}
		for i, off := range offs {
			d := r.open(t.TempDir(), fmt.Sprint("device ", i), off)
			r.devices = append(r.devices, d)
			if i > 0 {
				r.join(d, r.devices[0])
				continue
			}
			var err error
			r.key, err = d.Found()
			require.NoError(t, err)
		}
		defer func() {
			for _, d := range r.devices {
				require.NoError(t, d.Close(context.Background()))
			}
		}()
		test(t, r)
	})
}

// join makes a device a member, as pairing does.
func (r *rig) join(d, by *Device) {
	key, err := identity.LoadOrCreate(filepath.Join(d.Folder, "node.pem"))
	require.NoError(r.t, err)
	instance, record := identity.New(), by.notes().library.Record()
	first, err := record.First(key, instance)
	require.NoError(r.t, err)
	_, err = by.notes().library.Admit(first, library.RoleMember, d.Name, library.RecoveryKey{})
	require.NoError(r.t, err)
	l, err := d.libraries.Add(by.notes().library.Record(), instance)
	require.NoError(r.t, err)
	require.NoError(r.t, d.attach(l))
}

func (r *rig) open(folder, name string, off time.Duration) *Device {
	d, err := Open(r.t.Context(), Config{
		Folder: folder, Name: name, Network: inMemory(r.network), Log: slog.New(slog.DiscardHandler),
		Wall: func() time.Time { return time.Now().Add(off) }, Tell: func(string, ...any) {},
	})
	require.NoError(r.t, err)
	return d
}

func (d *Device) notes() *Notebook { return d.notebook.Load() }

func (d *Device) all(t require.TestingT) []Note {
	all, err := d.notes().Notes()
	require.NoError(t, err)
	return all
}

func (d *Device) digest(t require.TestingT) [32]byte {
	sum, err := d.notes().Digest()
	require.NoError(t, err)
	return sum
}

func (d *Device) has(other *Device) bool {
	_, ok := d.notes().library.Roster().Member(other.notes().library.Instance())
	return ok
}

func (d *Device) title(t *testing.T, note uuid.UUID, text string) {
	t.Helper()
	require.NoError(t, d.notes().Set(Change{note, Title, text}))
}

// settle waits for the given duration, and checks that all of the devices have
// the same notes.
func (r *rig) settle(wait time.Duration, devices ...*Device) {
	r.t.Helper()
	time.Sleep(wait)
	synctest.Wait()
	for _, d := range devices {
		require.Equal(r.t, devices[0].all(r.t), d.all(r.t))
		require.Equal(r.t, devices[0].digest(r.t), d.digest(r.t))
	}
}

func (d *Device) note(id uuid.UUID) Note {
	all, _ := d.notes().Notes()
	for _, n := range all {
		if n.ID == id {
			return n
		}
	}
	return Note{}
}

// While devices are connected, a change gets to all of them without any time
// passing.
func TestLive(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, r *rig) {
		r.settle(2*time.Second, r.devices...)
		for i := range 30 {
			d := r.devices[i%3]
			d.title(t, uuid.UUID{byte(i % 5)}, fmt.Sprint("edit ", i))
			began := time.Now()
			r.settle(0, r.devices...)
			require.Zero(t, time.Since(began))
		}
		time.Sleep(2 * wantEvery)
		synctest.Wait()
		require.EqualValues(t, 10+1, r.devices[0].notes().known, "others must have its edits, and a shift")
		// Nobody polls: all news has been exchanged.
		stats := r.network.Link(r.devices[0].node.Identity(), r.devices[1].node.Identity()).Stats()
		r.settle(10*time.Minute, r.devices...)
		require.Equal(t, stats.Streams, r.network.Link(r.devices[0].node.Identity(), r.devices[1].node.Identity()).Stats().Streams)
	}, 0, 0, 0)
}

// Devices that are offline go on writing, and get everything when they come
// back. One device hands on what another one wrote.
func TestOffline(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a, b, c := r.devices[0], r.devices[1], r.devices[2]
		n := uuid.New()
		a.title(t, n, "a")
		r.settle(time.Second, r.devices...)
		link := r.network.Link(a.node.Identity(), c.node.Identity())
		open := link.Stats().Open
		require.Equal(t, 4, open, "a tunnel in each direction")
		require.NoError(t, c.Offline(t.Context()))
		c.title(t, n, "c")
		time.Sleep(time.Hour)
		a.title(t, n, "a later")
		b.title(t, uuid.New(), "b")
		c.title(t, uuid.New(), "c")
		r.settle(time.Second, a, b)
		require.NoError(t, a.Offline(t.Context()))
		require.NoError(t, c.Online(t.Context()))
		r.settle(2*time.Second, b, c)
		require.Equal(t, "a later", c.note(n).Title)
		require.Len(t, c.all(t), 3)
		require.NoError(t, a.Online(t.Context()))
		r.settle(2*time.Second, r.devices...)

		time.Sleep(time.Hour)
		require.Equal(t, open, link.Stats().Open)

		require.NoError(t, b.Close(t.Context()))
		a.title(t, n, "while b was off")
		time.Sleep(time.Hour)
		r.devices[1] = r.open(b.Folder, b.Name, 0)
		r.settle(2*time.Second, r.devices...)
		require.Equal(t, "while b was off", r.devices[1].note(n).Title)
	}, 0, 0, 0)
}

// A device whose clock is ahead does not win, whether or not the others have
// heard of its edits, before the devices met and afterwards.
func TestClocks(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a, wrong, c := r.devices[0], r.devices[1], r.devices[2]
		for round := range 3 {
			n := uuid.New()
			for _, d := range r.devices {
				require.NoError(t, d.Offline(t.Context()))
			}
			wrong.title(t, n, "ahead")
			time.Sleep(2 * time.Second)
			a.title(t, n, "later")
			for _, d := range r.devices {
				require.NoError(t, d.Online(t.Context()))
			}
			r.settle(2*time.Second, r.devices...)
			require.Equal(t, "later", wrong.note(n).Title, round)
			wrong.title(t, n, "ahead")
			r.settle(time.Second, r.devices...)
			require.Equal(t, "ahead", a.note(n).Title)
			c.title(t, n, "latest")
			r.settle(20*time.Minute, r.devices...)
			require.Equal(t, "latest", a.note(n).Title)
			wrong.Close(t.Context())
			wrong = r.open(wrong.Folder, wrong.Name, 10*time.Minute)
			r.devices[1] = wrong
			r.settle(time.Second, r.devices...)
		}
	}, 0, 10*time.Minute, 0)
}

// After a device was revoked, nothing that it writes reaches anybody, by
// whatever way, and it gets nothing more. Any admin can revoke a device.
func TestRevoked(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		founder, admin, thief, friend := r.devices[0], r.devices[1], r.devices[2], r.devices[3]
		n := uuid.New()
		thief.title(t, n, "before")
		require.NoError(t, founder.notes().Promote(admin.Name, r.key))
		r.settle(10*time.Second, r.devices...)
		require.Equal(t, library.RoleAdmin, admin.notes().library.Role())
		require.ErrorIs(t, friend.notes().Remove(thief.Name, library.RecoveryKey{}), library.ErrNotAdmin)
		require.ErrorContains(t, admin.notes().Remove("nobody", library.RecoveryKey{}), "no member")

		// The admin gets nothing of what the thief writes meanwhile, but the
		// friend does.
		require.NoError(t, admin.Offline(t.Context()))
		thief.title(t, n, "meanwhile")
		r.settle(time.Second, thief, friend, founder)
		require.Equal(t, "meanwhile", friend.note(n).Title)
		require.NoError(t, admin.notes().Remove(thief.Name, library.RecoveryKey{}))
		time.Sleep(time.Minute)
		require.NoError(t, admin.Online(t.Context()))
		r.settle(5*time.Second, founder, admin, friend)
		require.Equal(t, "before", friend.note(n).Title)
		for _, d := range []*Device{founder, admin, friend} {
			require.False(t, d.has(thief))
		}
		thief.title(t, n, "after")
		founder.title(t, uuid.New(), "secret")
		r.settle(time.Hour, founder, admin, friend)
		require.Equal(t, "before", friend.note(n).Title)
		require.Len(t, thief.all(t), 1)
		_, err := thief.notes().library.Open(t.Context(), friend.notes().library.Instance(), route)
		require.ErrorIs(t, err, p2p.ErrTunnelRefused)

		require.NoError(t, friend.Close(t.Context()))
		friend = r.open(friend.Folder, friend.Name, 0)
		r.devices[3] = friend
		r.settle(time.Second, founder, admin, friend)
		require.Equal(t, "before", friend.note(n).Title)

		// A device that joins later gets all operations that count, including
		// the thief's.
		late := r.open(t.TempDir(), "late", 0)
		r.devices = append(r.devices, late)
		r.join(late, admin)
		r.settle(10*time.Second, founder, admin, friend, late)
		require.Equal(t, "before", late.note(n).Title)
	}, 0, 0, 0, 0)
}

// An admin has signed the removal of a member and then is gone before it could
// say how many of the member's operations count: another admin says so.
func TestSettled(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		founder, admin, lost := r.devices[0], r.devices[1], r.devices[2]
		require.NoError(t, founder.notes().Promote(admin.Name, r.key))
		lost.title(t, uuid.New(), "before")
		r.settle(10*time.Second, r.devices...)
		require.NoError(t, admin.Offline(t.Context()))
		require.NoError(t, admin.notes().library.Remove(lost.notes().library.Instance(), library.RemoveOptions{}))
		require.NoError(t, founder.notes().library.Learn(admin.notes().library.Record().Statements))
		r.settle(settleLate-time.Second, founder)
		_, others := founder.notes().Unsettled()
		require.Len(t, others, 1)
		r.settle(3*heedEvery, founder)
		_, others = founder.notes().Unsettled()
		require.Empty(t, others)
		require.NoError(t, admin.Online(t.Context()))
		r.settle(10*time.Second, founder, admin)
		require.Len(t, founder.all(t), 1)
	}, 0, 0, 0)
}

// With the recovery key, a device that is no admin removes a stolen admin
// device; without the key, a second admin has to agree.
func TestRecovered(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		stolen, phone, tablet := r.devices[0], r.devices[1], r.devices[2]
		stolen.title(t, uuid.New(), "stolen")
		r.settle(10*time.Second, r.devices...)
		require.ErrorIs(t, phone.notes().Remove(stolen.Name, library.RecoveryKey{}), library.ErrNotAdmin)
		key, err := library.ParseRecoveryKey(r.key.Text())
		require.NoError(t, err)
		require.NoError(t, phone.notes().library.Promote(phone.notes().library.Instance(), key))
		require.ErrorIs(t, phone.notes().Remove(stolen.Name, library.RecoveryKey{}), library.ErrAsked)
		r.settle(time.Minute, r.devices...)
		require.True(t, tablet.has(stolen))
		require.NoError(t, phone.notes().Remove(stolen.Name, key))
		if err := stolen.notes().Set(Change{uuid.New(), Title, "by the thief"}); err != nil {
			require.ErrorIs(t, err, library.ErrNotMember) // it has heard of its removal already
		}
		r.settle(2*time.Minute, phone, tablet)
		require.False(t, tablet.has(stolen))
		require.Len(t, tablet.all(t), 1)
		own, others := phone.notes().Unsettled()
		require.Empty(t, append(own, others...))
	}, 0, 0, 0)
}

// A member that tells two devices different stories does not keep them from
// hearing each other, any more than from hearing the member.
func TestTwoStoriesOnline(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a, b, liar := r.devices[0], r.devices[1], r.devices[2]
		r.settle(10*time.Second, r.devices...)
		path := filepath.Join(liar.Folder, "notes.log")
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, a.Offline(t.Context()))
		liar.title(t, uuid.UUID{1}, "one story")
		r.settle(5*time.Second, b, liar)
		require.NoError(t, liar.Close(t.Context()))
		require.NoError(t, os.WriteFile(path, before, 0o600))
		require.NoError(t, b.Offline(t.Context()))
		require.NoError(t, a.Online(t.Context()))
		liar = r.open(liar.Folder, liar.Name, 0)
		r.devices[2] = liar
		liar.title(t, uuid.UUID{2}, "another story")
		r.settle(5*time.Second, a, liar)
		require.NoError(t, b.Online(t.Context()))
		time.Sleep(time.Minute)
		for i := range 5 {
			a.title(t, uuid.UUID{3, byte(i)}, "a")
			b.title(t, uuid.UUID{4, byte(i)}, "b")
			liar.title(t, uuid.UUID{5, byte(i)}, "more")
			time.Sleep(5 * time.Second)
			require.Equal(t, "b", a.note(uuid.UUID{4, byte(i)}).Title)
			require.Equal(t, "a", b.note(uuid.UUID{3, byte(i)}).Title)
		}
		link := r.network.Link(a.node.Identity(), b.node.Identity())
		streams := link.Stats().Streams
		time.Sleep(10 * time.Minute)
		require.Equal(t, streams, link.Stats().Streams, "no stream may be opened because of the two stories")
	}, 0, 0, 0)
}

// Connections that are cut at any time cost nothing but time: operations that
// have arrived are kept, and not asked for again.
func TestCut(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, r *rig) {
		a, b := r.devices[0], r.devices[1]
		link := r.network.Link(a.node.Identity(), b.node.Identity())
		link.Cut()
		const many = 600
		for i := range many {
			require.NoError(t, a.notes().Set(Change{uuid.UUID{byte(i), byte(i >> 8)}, Body, strings.Repeat("a", 2000)}))
		}
		require.NoError(t, b.notes().Set(Change{uuid.UUID{15: 1}, Body, "b"}))
		seen := map[int]bool{}
		link.SetDelay(time.Millisecond)
		for range 50 {
			link.Restore()
			late, cancel := context.WithTimeout(t.Context(), time.Second)
			for range 1 + rand.IntN(3) {
				select {
				case <-b.notes().changed.next():
				case <-late.Done():
				}
			}
			cancel()
			link.Cut()
			synctest.Wait()
			have := len(b.all(t))
			seen[have] = true
			time.Sleep(time.Second)
			require.Len(t, b.all(t), have)
		}
		require.Greater(t, len(seen), 5, "it must be cut in the middle: %v", seen)
		link.Restore()
		r.settle(time.Minute, a, b)
		require.Len(t, b.all(t), many+1)
	}, 0, 0)
}

// As soon as a device hears of a new member, it gets what the member has
// written, also from others.
func TestNewMember(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a, b := r.devices[0], r.devices[1]
		r.settle(10*time.Second, r.devices...)
		require.NoError(t, b.Offline(t.Context()))
		c := r.open(t.TempDir(), "new", 0)
		r.devices = append(r.devices, c)
		r.join(c, a)
		c.title(t, uuid.UUID{1}, "c")
		r.settle(10*time.Second, a, c)
		require.NoError(t, c.Offline(t.Context()))
		time.Sleep(time.Minute)
		require.NoError(t, b.Online(t.Context()))
		r.settle(10*time.Second, a, b)
		require.Len(t, b.all(t), 1)
	}, 0, 0)
}

// A member comes back because the admin who had removed it was removed: then
// all that it wrote counts again, and it gets news again.
func TestReturned(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		founder, admin, victim, friend := r.devices[0], r.devices[1], r.devices[2], r.devices[3]
		require.NoError(t, founder.notes().Promote(admin.Name, r.key))
		victim.title(t, uuid.UUID{1}, "victim")
		r.settle(10*time.Second, r.devices...)
		var honest roster.Hash
		for _, s := range admin.notes().library.Record().Statements {
			if s.Signer == admin.notes().library.Instance() {
				honest = s.Hash()
			}
		}
		require.NoError(t, admin.notes().Remove(victim.Name, library.RecoveryKey{}))
		r.settle(10*time.Second, founder, admin, friend)
		require.False(t, friend.has(victim))
		victim.title(t, uuid.UUID{2}, "out")
		require.NoError(t, founder.notes().library.Remove(admin.notes().library.Instance(), library.RemoveOptions{Key: r.key, Last: honest}))
		r.settle(10*time.Minute, founder, victim, friend)
		require.Len(t, friend.all(t), 2)
		founder.title(t, uuid.UUID{3}, "again")
		r.settle(10*time.Second, founder, victim, friend)
		require.Len(t, victim.all(t), 3)
	}, 0, 0, 0, 0)
}
