package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

// A rig is some devices on a network in memory.
type rig struct {
	t       *testing.T
	network *p2ptest.Network
	devices []*Device
	secret  library.Secret
}

// bubble runs a test with devices that have one notebook, each with a clock that is off by so much.
func bubble(t *testing.T, test func(t *testing.T, r *rig), offs ...time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, network: p2ptest.NewNetwork(p2ptest.Config{}), secret: library.NewSecret()}
		for i, off := range offs {
			r.devices = append(r.devices, r.open(t.TempDir(), fmt.Sprint("device ", i), off))
		}
		for i, d := range r.devices {
			require.NoError(t, d.Close(t.Context()))
			record := library.Record{ID: Founded(r.devices[0].instance.Remote()), Secret: r.secret}
			for j, o := range r.devices {
				if i != j {
					record.Members = append(record.Members, o.member())
				}
			}
			require.NoError(t, saveRecord(d.Folder, record))
		}
		for i, d := range r.devices {
			r.devices[i] = r.open(d.Folder, d.Name, offs[i])
		}
		defer func() {
			for _, d := range r.devices {
				require.NoError(t, d.Close(context.Background()))
			}
		}()
		test(t, r)
	})
}

func (r *rig) open(folder, name string, off time.Duration) *Device {
	d, err := Open(r.t.Context(), Config{
		Folder: folder, Name: name, Network: r.network.Hooks, Log: slog.New(slog.DiscardHandler),
		Wall: func() time.Time { return time.Now().Add(off) }, Tell: func(string, ...any) {},
	})
	require.NoError(r.t, err)
	return d
}

func (d *Device) member() library.Member {
	return library.Member{Instance: d.instance.Remote(), Node: d.node.Identity(), Name: d.Name}
}

func (d *Device) notes() *Notebook { return d.notebook.Load() }

func (d *Device) title(t *testing.T, note uuid.UUID, text string) {
	t.Helper()
	require.NoError(t, d.notes().Set(Change{note, Title, text}))
}

// tries is title for a device that was revoked, which others may have told it.
func (d *Device) tries(t *testing.T, note uuid.UUID, text string) {
	t.Helper()
	if err := d.notes().Set(Change{note, Title, text}); err != nil {
		require.ErrorIs(t, err, ErrRevoked)
	}
}

// settle waits so long, and wants all of the devices to have the same.
func (r *rig) settle(wait time.Duration, devices ...*Device) {
	r.t.Helper()
	time.Sleep(wait)
	synctest.Wait()
	for _, d := range devices {
		require.Equal(r.t, devices[0].notes().Notes(), d.notes().Notes())
		require.Equal(r.t, devices[0].notes().Digest(), d.notes().Digest())
	}
}

func (d *Device) note(id uuid.UUID) Note {
	for _, n := range d.notes().Notes() {
		if n.ID == id {
			return n
		}
	}
	return Note{}
}

// While devices are connected, a change is everywhere at once: without any time passing.
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
		require.EqualValues(t, 10+1, r.devices[0].notes().known, "what others have of it: edits, and that its clock is right")
		// Nobody polls: what there was to be said has been said.
		stats := r.network.Link(r.devices[0].node.Identity(), r.devices[1].node.Identity()).Stats()
		r.settle(10*time.Minute, r.devices...)
		require.Equal(t, stats.Streams, r.network.Link(r.devices[0].node.Identity(), r.devices[1].node.Identity()).Stats().Streams)
	}, 0, 0, 0)
}

// Devices that are offline go on writing, and get all when they come back; one hands on what another one wrote.
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
		require.Len(t, c.notes().Notes(), 3)
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

// A clock that is ahead does not win, whether the others have heard of it or not, before they met or later.
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

// Of a device that was revoked nothing later arrives, at nobody, by nobody; and it gets nothing more. All devices remove it.
func TestRevoked(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		founder, thief, friend := r.devices[0], r.devices[1], r.devices[2]
		n := uuid.New()
		thief.title(t, n, "before")
		r.settle(time.Second, r.devices...)
		require.ErrorIs(t, friend.notes().Revoke(thief.Name), ErrNotFounder)
		require.ErrorContains(t, founder.notes().Revoke("nobody"), "no member")

		// The founder hears of neither the friend nor what the thief writes meanwhile, which the friend has.
		require.NoError(t, founder.Offline(t.Context()))
		thief.title(t, n, "meanwhile")
		r.settle(time.Second, thief, friend)
		require.Equal(t, "meanwhile", friend.note(n).Title)
		require.NoError(t, founder.notes().Revoke(thief.Name))
		time.Sleep(time.Minute)
		require.NoError(t, founder.Online(t.Context()))
		r.settle(2*time.Second, founder, friend)
		require.Equal(t, "before", friend.note(n).Title)
		for _, d := range []*Device{founder, friend} {
			record := d.notes().library.Record()
			_, member := record.Member(thief.instance.Remote())
			require.False(t, member)
		}
		thief.tries(t, n, "after")
		founder.title(t, uuid.New(), "secret")
		r.settle(time.Hour, founder, friend)
		require.Equal(t, "before", friend.note(n).Title)
		require.Len(t, thief.notes().Notes(), 1)
		_, err := thief.notes().library.Open(t.Context(), friend.instance.Remote(), route)
		require.ErrorIs(t, err, p2p.ErrTunnelRefused)

		require.NoError(t, friend.Close(t.Context()))
		r.devices[2] = r.open(friend.Folder, friend.Name, 0)
		r.settle(time.Second, founder, r.devices[2])
		require.Equal(t, "before", r.devices[2].note(n).Title)

		// Who joins later gets what counts, the thief's too.
		late := r.open(t.TempDir(), "late", 0)
		require.NoError(t, late.Close(t.Context()))
		record := founder.notes().library.RecordFor(late.member())
		require.NoError(t, saveRecord(late.Folder, record))
		require.NoError(t, founder.notes().library.AddMember(late.member()))
		late = r.open(late.Folder, late.Name, 0)
		r.devices = append(r.devices, late)
		r.settle(5*time.Second, founder, r.devices[2], late)
		require.Equal(t, "before", late.note(n).Title)
	}, 0, 0, 0)
}

// Connections that are cut at any time cost nothing but time: what has come is kept, and not asked for again.
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
			have := len(b.notes().Notes())
			seen[have] = true
			time.Sleep(time.Second)
			require.Len(t, b.notes().Notes(), have)
		}
		require.Greater(t, len(seen), 5, "it was cut in the middle: %v", seen)
		link.Restore()
		r.settle(time.Minute, a, b)
		require.Len(t, b.notes().Notes(), many+1)
	}, 0, 0)
}

// What a new member has written, a device gets as soon as it hears of the member, also from others.
func TestNewMember(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a, b, c := r.devices[0], r.devices[1], r.devices[2]
		r.settle(time.Second, r.devices...)
		require.NoError(t, b.notes().library.RemoveMember(c.instance.Remote()))
		require.NoError(t, b.notes().library.Update(forgetful(b.notes().library.Record()))) // as if it had not heard yet
		require.NoError(t, c.Offline(t.Context()))
		c.title(t, uuid.UUID{1}, "c")
		require.NoError(t, c.Online(t.Context()))
		r.settle(2*time.Second, a, c)
		require.Empty(t, b.notes().Notes(), "a has it, and b has not asked for it")
		require.NoError(t, c.Offline(t.Context()))
		time.Sleep(time.Minute)
		require.NoError(t, b.notes().library.AddMember(c.member()))
		r.settle(time.Second, a, b)
		require.Len(t, b.notes().Notes(), 1)
	}, 0, 0, 0)
}

// Whom the founder removes is revoked by it, however that came.
func TestRemoved(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		a, b, c := r.devices[0], r.devices[1], r.devices[2]
		r.settle(time.Second, r.devices...)
		require.NoError(t, a.notes().library.RemoveMember(c.instance.Remote()))
		c.tries(t, uuid.UUID{1}, "c")
		r.settle(time.Second, a, b)
		require.Empty(t, a.notes().Notes())
		record := b.notes().library.Record()
		_, member := record.Member(c.instance.Remote())
		require.False(t, member)
	}, 0, 0, 0)
}

func forgetful(r library.Record) library.Record {
	r.Removed = nil
	return r
}
