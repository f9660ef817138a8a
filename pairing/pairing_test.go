package pairing_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
)

// With a ticket, a device becomes a member; both users see the other's name and
// the same digits; other members learn of it.
func TestTicket(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice().start(t, "Alice's", network.Hooks()...).create(t)
		b := newDevice().start(t, "Bob's", network.Hooks()...)
		c := newDevice().start(t, "Carol's", network.Hooks()...)
		for _, joiner := range []*device{b, c} {
			a.asked = nil
			i := a.invite(t, pairing.InviteConfig{})
			ticket, err := pairing.ParseTicket(i.Ticket().Text())
			require.NoError(t, err)
			require.NoError(t, joiner.join(t.Context(), ticket, joiner.yes))
			m, err := i.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, joiner.lib.Instance(), m.Instance)
			require.Len(t, a.asked, 1)
			require.Len(t, joiner.asked, 1)
			require.Equal(t, pairing.Device{Node: a.Identity(), Name: "Alice's", Code: a.asked[0].Code}, joiner.asked[0])
			require.Equal(t, pairing.Device{Node: joiner.Identity(), Name: joiner.Metadata()["name"], Code: a.asked[0].Code}, a.asked[0])
			require.Len(t, a.asked[0].Code, 6)
			require.Equal(t, joiner.lib.ID(), joiner.kept[0].ID)
			require.True(t, joiner.lib.Record().Secret == joiner.kept[0].Secret)
			require.NoError(t, joiner.kept[0].Validate())
		}
		pass(5 * time.Second)
		members(t, a, b, c)
		a.talks(t, c)
		b.talks(t, c)
		c.talks(t, b)
	})
}

func TestCode(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice().start(t, "Alice's", network.Hooks()...).create(t)
		b := newDevice().start(t, "Bob's", network.Hooks()...)
		i, err := a.pairing.InviteByCode(a.lib, pairing.InviteConfig{Confirm: a.yes})
		require.NoError(t, err)
		pass(time.Second)
		peer, ok := b.Peer(a.Identity())
		require.True(t, ok)
		b.lib, err = b.pairing.JoinByCode(t.Context(), peer, b.joining(b.yes))
		require.NoError(t, err)
		_, err = i.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, a.asked[0].Code, b.asked[0].Code)
		b.echo()
		members(t, a, b)
		a.talks(t, b)
		b.talks(t, a)
	})
}

// No device is admitted if a user declines or does not answer.
func TestDisagree(t *testing.T) {
	for name, test := range map[string]struct {
		a, b         func(d *device) pairing.ConfirmFunc
		errA, errB   error
		joinedWithin time.Duration
	}{
		"inviter declines":  {a: func(d *device) pairing.ConfirmFunc { return d.no }, errA: pairing.ErrDeclined, errB: pairing.ErrPeerDeclined},
		"joiner declines":   {b: func(d *device) pairing.ConfirmFunc { return d.no }, errA: pairing.ErrPeerDeclined, errB: pairing.ErrDeclined},
		"inviter is silent": {a: func(d *device) pairing.ConfirmFunc { return d.silent }, errA: pairing.ErrNoAnswer, errB: pairing.ErrNoAnswer, joinedWithin: pairing.ConfirmTime},
		"joiner is silent":  {b: func(d *device) pairing.ConfirmFunc { return d.silent }, errA: pairing.ErrNoAnswer, errB: pairing.ErrNoAnswer, joinedWithin: pairing.ConfirmTime},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a := newDevice().start(t, "Alice's", network.Hooks()...).create(t)
				b := newDevice().start(t, "Bob's", network.Hooks()...)
				confirmA, confirmB := a.yes, b.yes
				if test.a != nil {
					confirmA = test.a(a)
				}
				if test.b != nil {
					confirmB = test.b(b)
				}
				i := a.invite(t, pairing.InviteConfig{Confirm: confirmA})
				began := time.Now()
				require.ErrorIs(t, b.join(t.Context(), i.Ticket(), confirmB), test.errB)
				_, err := i.Wait(t.Context())
				require.ErrorIs(t, err, test.errA)
				require.Equal(t, test.joinedWithin, time.Since(began))
				require.Len(t, a.lib.Roster().Members, 1)
				require.Empty(t, b.libraries.All())
				require.Empty(t, b.kept)
				require.ErrorIs(t, b.join(t.Context(), i.Ticket(), b.yes), pairing.ErrUsed)
			})
		})
	}
}

// A hook that is unregistered ends its invitations and refuses streams, and may
// be registered again.
func TestHookEnds(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		i := a.invite(t, pairing.InviteConfig{})
		require.NoError(t, a.Unregister(t.Context(), a.pairing))
		_, err := i.Wait(t.Context())
		require.ErrorIs(t, err, pairing.ErrNotRunning)
		_, err = b.open(t, a.Identity(), pairing.Route).Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrShuttingDown)
		require.NoError(t, a.Register(t.Context(), a.pairing))
		require.ErrorIs(t, b.join(t.Context(), i.Ticket(), b.yes), pairing.ErrRefused)
		require.NoError(t, b.join(t.Context(), a.invite(t, pairing.InviteConfig{}).Ticket(), b.yes))
	})
}

// A user's callback may panic, exit its goroutine, be late, or never return.
func TestCallbacks(t *testing.T) {
	forever := make(chan struct{})
	answers := map[string]struct {
		confirm   pairing.ConfirmFunc
		ours, its error
		takes     time.Duration
	}{
		"panics": {func(context.Context, pairing.Device) bool { panic("no") }, pairing.ErrDeclined, pairing.ErrPeerDeclined, 0},
		"never":  {func(context.Context, pairing.Device) bool { <-forever; return true }, pairing.ErrNoAnswer, pairing.ErrNoAnswer, pairing.ConfirmTime},
		"late": {func(context.Context, pairing.Device) bool { time.Sleep(pairing.ConfirmTime + time.Second); return true },
			pairing.ErrNoAnswer, pairing.ErrNoAnswer, pairing.ConfirmTime},
		"just in time": {func(context.Context, pairing.Device) bool { time.Sleep(pairing.ConfirmTime - time.Second); return true },
			nil, nil, pairing.ConfirmTime - time.Second},
	}
	for name, test := range answers {
		for _, side := range []string{"inviter", "joiner"} {
			t.Run(name+" "+side, func(t *testing.T) {
				bubble(t, func(t *testing.T, network *p2ptest.Network) {
					forever = make(chan struct{})
					t.Cleanup(func() { close(forever) })
					a, b := two(t, network)
					inviter, joiner, errA, errB := a.yes, test.confirm, test.its, test.ours
					if side == "inviter" {
						inviter, joiner, errA, errB = test.confirm, b.yes, test.ours, test.its
					}
					i := a.invite(t, pairing.InviteConfig{Confirm: inviter})
					began := time.Now()
					require.ErrorIs(t, b.join(t.Context(), i.Ticket(), joiner), errB)
					_, err := i.Wait(t.Context())
					require.ErrorIs(t, err, errA)
					require.Equal(t, test.takes, time.Since(began))
					if errA != nil {
						nothing(t, a, b)
					}
					pass(2 * time.Second) // the late answer no longer counts
				})
			})
		}
	}
}
