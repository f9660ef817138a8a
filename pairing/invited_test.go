package pairing_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
)

// two starts a device with a library and one without.
func two(t testing.TB, network *p2ptest.Network) (a, b *device) {
	t.Helper()
	a = newDevice().start(t, "Alice's", network.Hooks()...).create(t)
	b = newDevice().start(t, "Bob's", network.Hooks()...)
	pass(time.Second)
	return a, b
}

// later calls a function after a time, before the test ends.
func later(t testing.TB, d time.Duration, f func()) {
	done := make(chan struct{})
	time.AfterFunc(d, func() { defer close(done); f() })
	t.Cleanup(func() { <-done })
}

// slowly acts as a user who agrees after a time.
func (d *device) slowly(after time.Duration) pairing.ConfirmFunc {
	return func(ctx context.Context, other pairing.Device) bool {
		select {
		case <-time.After(after):
			return d.yes(ctx, other)
		case <-ctx.Done():
			return true
		}
	}
}

// nothing requires that one device has joined nothing, and that the other one
// has admitted nobody.
func nothing(t testing.TB, a, b *device) {
	t.Helper()
	require.Empty(t, b.libraries.All())
	require.Len(t, a.lib.Roster().Members, 1)
}

func TestCanceled(t *testing.T) {
	for name, test := range map[string]struct {
		byCode bool
		before bool
	}{"before": {before: true}, "while users are asked": {}, "by code, before": {byCode: true, before: true}, "by code, while users are asked": {byCode: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a, b := two(t, network)
				invite, join := a.pairing.Invite, func(i *pairing.Invitation) error { return b.join(t.Context(), i.Ticket(), b.silent) }
				if test.byCode {
					invite = a.pairing.InviteByCode
					join = func(*pairing.Invitation) error { return b.joinByCode(t, a, b.silent) }
				}
				i, err := invite(a.lib, pairing.InviteConfig{Confirm: a.silent})
				require.NoError(t, err)
				want := pairing.ErrPeerDeclined
				if test.before {
					i.Cancel()
					if !test.byCode {
						want = pairing.ErrRefused
					}
				} else {
					later(t, time.Minute, i.Cancel)
				}
				require.ErrorIs(t, join(i), want)
				_, err = i.Wait(t.Context())
				require.ErrorIs(t, err, pairing.ErrCanceled)
				i.Cancel()
				nothing(t, a, b)
			})
		})
	}
}

// A Cancel between the proof and the first message still reaches the other side
// as a cancellation.
func TestCanceledEarly(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		i := a.invite(t, pairing.InviteConfig{})
		c, err := b.present(t, i.Ticket())
		require.NoError(t, err)
		pass(time.Second)
		i.Cancel()
		require.Equal(t, replyOf(2, "Alice's"), expect(t, c, 4+len("Alice's")))
	})
}

func TestExpired(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		unused, used := a.invite(t, pairing.InviteConfig{}), a.invite(t, pairing.InviteConfig{Time: time.Minute})
		began := time.Now()
		later(t, 50*time.Second, func() { // the time ends while users are asked
			require.NoError(t, b.join(t.Context(), used.Ticket(), b.slowly(time.Minute)))
			require.NoError(t, b.libraries.Remove(b.lib.ID()))
		})
		_, err := used.Wait(t.Context())
		require.NoError(t, err)
		_, err = unused.Wait(t.Context())
		require.ErrorIs(t, err, pairing.ErrExpired)
		require.Equal(t, pairing.DefaultTime, time.Since(began))
		require.ErrorIs(t, b.join(t.Context(), unused.Ticket(), b.yes), pairing.ErrRefused, "the time in the ticket, rounded up to a minute, has not passed")
		pass(time.Minute)
		began = time.Now()
		err = b.join(t.Context(), unused.Ticket(), b.yes)
		require.ErrorIs(t, err, pairing.ErrExpired)
		require.ErrorIs(t, err, pairing.ErrRefused)
		require.Less(t, time.Since(began), time.Second)

		require.NoError(t, a.Shutdown(context.Background()))
		err = b.join(t.Context(), unused.Ticket(), b.yes)
		require.ErrorIs(t, err, pairing.ErrExpired)
		var dial *p2p.DialError
		require.ErrorAs(t, err, &dial)
		require.Less(t, time.Since(began), 20*time.Second)
	})
}

// A joiner waits for a device that is not there yet, and when it gives up, its
// error says why.
func TestUnreachable(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		link := network.Link(a.Identity(), b.Identity())
		i := a.invite(t, pairing.InviteConfig{})
		link.Cut()
		later(t, 3*time.Minute, link.Restore)
		require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
		members(t, a, b)
		require.NoError(t, b.libraries.Remove(b.lib.ID()))
		dials := link.Stats().Dials
		require.Less(t, dials, 3*60)

		i = a.invite(t, pairing.InviteConfig{})
		link.Cut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := b.join(ctx, i.Ticket(), b.yes)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, pairing.ErrExpired)
		require.ErrorAs(t, err, new(*p2p.DialError))

		began := time.Now()
		err = b.join(t.Context(), i.Ticket(), b.yes)
		require.ErrorIs(t, err, pairing.ErrExpired)
		require.InDelta(t, 9*time.Minute, time.Since(began), float64(time.Minute))
		_, err = i.Wait(t.Context())
		require.ErrorIs(t, err, pairing.ErrExpired)
	})
}

// Join tries again unless it was refused; a user who gives up gets an answer at
// any time.
func TestJoinGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		i := a.invite(t, pairing.InviteConfig{})
		a.busy = 3
		require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
		require.Zero(t, a.busy)
		require.NoError(t, b.libraries.Remove(b.lib.ID()))

		link := network.Link(a.Identity(), b.Identity())
		link.Cut()
		pass(0)
		link.Restore()
		link.SetDelay(50 * time.Millisecond)
		i = a.invite(t, pairing.InviteConfig{})
		later(t, 125*time.Millisecond, link.Cut) // the handshake has begun by then
		later(t, time.Second, link.Restore)
		require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
		require.NoError(t, b.libraries.Remove(b.lib.ID()))

		i = a.invite(t, pairing.InviteConfig{})
		link.Cut()
		pass(0)
		link.Restore()
		for _, after := range []time.Duration{25 * time.Millisecond, 125 * time.Millisecond, 175 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			err := b.join(ctx, i.Ticket(), b.yes)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, pairing.ErrRefused)
		}
		link.Cut()
		for after := time.Second; after < 16*time.Second; after += time.Second {
			ctx, cancel := context.WithTimeout(t.Context(), after-time.Millisecond)
			err := b.join(ctx, i.Ticket(), b.yes)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, pairing.ErrExpired)
		}
	})
}

// A peer that accepts connections and closes them is not dialed without pauses.
func TestDialsPause(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		link := network.Link(a.Identity(), b.Identity())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		events := b.Subscribe()
		defer events.Close()
		go func() {
			for e := range events.C {
				if _, ok := e.(p2p.PeerConnectedWith); ok {
					link.Cut()
					link.Restore()
				}
			}
		}()
		ticket := craft(t, a.Identity(), [16]byte{1}, time.Now().Add(time.Hour))
		require.Error(t, b.join(ctx, ticket, b.yes))
		require.Less(t, link.Stats().Connections, 660)
		events.Close()
	})
}

func TestLimits(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		var all []*pairing.Invitation
		for range pairing.MaxInvitations {
			all = append(all, a.invite(t, pairing.InviteConfig{}))
		}
		_, err := a.pairing.Invite(a.lib, pairing.InviteConfig{Confirm: a.yes})
		require.ErrorIs(t, err, pairing.ErrTooMany)
		_, err = a.pairing.InviteByCode(a.lib, pairing.InviteConfig{Confirm: a.yes})
		require.ErrorIs(t, err, pairing.ErrTooMany)

		require.NoError(t, b.join(t.Context(), all[0].Ticket(), b.yes), "the last of many credentials is tried, too")
		_, err = all[0].Wait(t.Context()) // it has ended on this side, too
		require.NoError(t, err)
		all = append(all, a.invite(t, pairing.InviteConfig{})) // those that have ended make room
		for _, i := range all {
			i.Cancel()
		}
		a.invite(t, pairing.InviteConfig{}).Cancel()

		i, err := a.pairing.InviteByCode(a.lib, pairing.InviteConfig{Confirm: a.yes})
		require.NoError(t, err)
		_, err = a.pairing.InviteByCode(a.lib, pairing.InviteConfig{Confirm: a.yes})
		require.ErrorIs(t, err, pairing.ErrTooMany)
		i.Cancel()
		require.Zero(t, i.Ticket())
		require.Empty(t, i.Ticket().Text())
	})
}

// Mistakes of the app are reported at once.
func TestMistakes(t *testing.T) {
	require.Panics(t, func() { pairing.New(pairing.Config{}) })
	p := pairing.New(pairing.Config{Libraries: library.New(library.Config{})})
	require.Panics(t, func() { p.Invite(nil, pairing.InviteConfig{}) })
	require.Panics(t, func() { p.Join(t.Context(), pairing.Ticket{}, pairing.JoinConfig{}) })
	_, err := p.Join(t.Context(), pairing.Ticket{}, pairing.JoinConfig{Confirm: newDevice().yes})
	require.ErrorIs(t, err, pairing.ErrNotRunning)
	_, err = p.Invite(nil, pairing.InviteConfig{Confirm: newDevice().yes})
	require.ErrorIs(t, err, pairing.ErrNotRunning)

	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		require.Error(t, a.pairing.Run(t.Context(), nil), "the hook is already running")
		require.ErrorIs(t, b.join(t.Context(), pairing.Ticket{}, b.yes), pairing.ErrTicket)
		require.ErrorIs(t, a.join(t.Context(), a.invite(t, pairing.InviteConfig{}).Ticket(), a.yes), pairing.ErrTicket, "a device's own ticket")
		lib := a.libraries.All()[0]
		_, err := b.pairing.Invite(lib, pairing.InviteConfig{Confirm: b.yes})
		require.ErrorIs(t, err, library.ErrRemoved, "a library of another node")
		a.lib = lib
		i := a.invite(t, pairing.InviteConfig{})
		require.NoError(t, a.libraries.Remove(lib.ID()))
		_, err = a.pairing.Invite(lib, pairing.InviteConfig{Confirm: a.yes})
		require.ErrorIs(t, err, library.ErrRemoved)
		require.ErrorIs(t, b.join(t.Context(), i.Ticket(), b.yes), pairing.ErrPeerFailed)
		_, err = i.Wait(t.Context())
		require.ErrorIs(t, err, library.ErrRemoved)
		require.Empty(t, a.asked)
		require.Empty(t, b.asked)
	})
}

// If the joiner cannot store the library, it is no member.
func TestJoinerFails(t *testing.T) {
	errFull := errors.New("the disk is full")
	for name, test := range map[string]struct {
		prepare func(t *testing.T, a, b *device)
		want    error
		kept    int
	}{
		"Keep fails":    {func(t *testing.T, a, b *device) { b.keeps = func() error { return errFull } }, errFull, 0},
		"has it":        {func(t *testing.T, a, b *device) { b.has(t, a.lib.Record()) }, library.ErrAdded, 0},
		"64 libraries":  {func(t *testing.T, a, b *device) { b.fill(t) }, library.ErrTooMany, 1},
		"Keep is slow":  {func(t *testing.T, a, b *device) { b.keeps = func() error { time.Sleep(time.Minute); return nil } }, pairing.ErrUnfinished, 1},
		"A secret more": {func(t *testing.T, a, b *device) { b.keeps = a.lib.Rotate }, pairing.ErrPeerFailed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a, b := two(t, network)
				test.prepare(t, a, b)
				before := len(b.libraries.All())
				i := a.invite(t, pairing.InviteConfig{})
				require.ErrorIs(t, b.join(t.Context(), i.Ticket(), b.yes), test.want)
				if test.want == library.ErrAdded {
					i.Cancel() // the ticket names the library, and is still valid
				}
				_, err := i.Wait(t.Context())
				switch test.want {
				case library.ErrAdded:
					require.ErrorIs(t, err, pairing.ErrCanceled)
				case pairing.ErrUnfinished:
					require.ErrorIs(t, err, pairing.ErrUnfinished)
				case pairing.ErrPeerFailed:
					require.ErrorContains(t, err, "new secret")
				default:
					require.ErrorIs(t, err, pairing.ErrPeerFailed)
				}
				require.Len(t, b.kept, test.kept)
				require.Len(t, b.libraries.All(), before)
				require.Len(t, a.lib.Roster().Members, 1)
			})
		})
	}
}

func (d *device) has(t *testing.T, r library.Record) {
	_, err := d.libraries.Add(r, identity.New())
	require.NoError(t, err)
}

func (d *device) fill(t *testing.T) {
	for range p2p.MaxLibraries {
		_, err := d.libraries.Found("", library.RecoveryKey{})
		require.NoError(t, err)
	}
}
