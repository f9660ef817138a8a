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

// One device joins through another only once at a time, with or without a
// ticket.
func TestBusy(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		i, other := a.invite(t, pairing.InviteConfig{}), a.invite(t, pairing.InviteConfig{})
		later(t, time.Second, func() {
			_, err := b.pairing.Join(t.Context(), other.Ticket(), b.joining(b.yes))
			require.ErrorIs(t, err, pairing.ErrBusy)
			peer, _ := b.Peer(a.Identity())
			_, err = b.pairing.JoinByCode(t.Context(), peer, b.joining(b.yes))
			require.ErrorIs(t, err, pairing.ErrBusy)
		})
		require.NoError(t, b.join(t.Context(), i.Ticket(), b.slowly(time.Minute)))
		require.NoError(t, b.libraries.Remove(b.lib.ID()))
		require.NoError(t, b.join(t.Context(), other.Ticket(), b.yes))
	})
}
