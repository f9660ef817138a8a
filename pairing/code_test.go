package pairing_test

import (
	"context"
	"crypto/rand"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
)

// byCode makes an invitation by code.
func (d *device) byCode(t testing.TB, confirm pairing.ConfirmFunc) *pairing.Invitation {
	t.Helper()
	i, err := d.pairing.InviteByCode(d.lib, pairing.InviteConfig{Confirm: confirm})
	require.NoError(t, err)
	return i
}

func nonce() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

// Both sides see the same digits, and other digits each time.
func TestCodes(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		seen := map[string]bool{}
		for n := range 4 {
			i := a.byCode(t, a.yes)
			if n%2 == 0 {
				i.Cancel()
				i = a.invite(t, pairing.InviteConfig{})
				require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
			} else {
				require.NoError(t, b.joinByCode(t, a, b.yes))
			}
			_, err := i.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, a.asked[n].Code, b.asked[n].Code)
			seen[a.asked[n].Code] = true
			require.NoError(t, b.libraries.Remove(b.lib.ID()))
		}
		require.Len(t, seen, 4)
	})
}

// Three failed attempts lock both sides for 10 minutes, whichever of them
// caused the failures. A successful one resets the count.
func TestLocked(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		for range 2 {
			i := a.byCode(t, a.no)
			require.ErrorIs(t, b.joinByCode(t, a, b.yes), pairing.ErrPeerDeclined)
			pass(time.Second)
			i.Cancel() // it was valid until now
			_, err := i.Wait(t.Context())
			require.ErrorIs(t, err, pairing.ErrCanceled)
		}
		i := a.byCode(t, a.yes)
		require.NoError(t, b.joinByCode(t, a, b.yes))
		_, err := i.Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, b.libraries.Remove(b.lib.ID()))

		i = a.byCode(t, a.yes)
		for range 3 {
			require.ErrorIs(t, b.joinByCode(t, a, b.no), pairing.ErrDeclined)
			pass(time.Second)
		}
		_, err = i.Wait(t.Context())
		require.ErrorIs(t, err, pairing.ErrLocked)
		require.ErrorIs(t, err, pairing.ErrPeerDeclined)
		locked := time.Now()
		for time.Since(locked) < 9*time.Minute+58*time.Second {
			_, err = a.pairing.InviteByCode(a.lib, pairing.InviteConfig{Confirm: a.yes})
			require.ErrorIs(t, err, pairing.ErrLocked)
			require.ErrorIs(t, b.joinByCode(t, a, b.yes), pairing.ErrLocked)
			pass(time.Minute - time.Second)
		}
		pass(10*time.Minute - time.Since(locked))
		i = a.byCode(t, a.yes)
		require.NoError(t, b.joinByCode(t, a, b.yes))
		_, err = i.Wait(t.Context())
		require.NoError(t, err)
		require.Len(t, a.invite(t, pairing.InviteConfig{}).Ticket().Addrs, 1, "tickets are not affected")
	})
}

// An opener counts as a failed attempt from the moment at which it can know the
// digits, whatever it does after that.
func TestHostileOpener(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		i := a.byCode(t, a.yes)
		opened := func() (*p2p.Stream, comparer) {
			s := b.open(t, a.Identity(), pairing.CodeRoute)
			return s, compares(t, s, b.Identity(), a.Identity())
		}
		for range 5 { // before that, attempts neither count nor keep others away
			s, c := opened()
			_, err := s.Write(c.open(nonce())[:20])
			require.NoError(t, err)
			s, _ = opened()
			began := time.Now()
			_, err = s.Write([]byte{1})
			require.NoError(t, err)
			_, err = s.Read(make([]byte, 1))
			require.ErrorIs(t, err, p2p.ErrRefused)
			require.Zero(t, time.Since(began), "another version is refused at once")
		}
		s, c := opened()
		_, err := s.Write(c.open(nonce()))
		require.NoError(t, err)
		expect(t, s, 32)
		other, oc := opened()
		_, err = other.Write(oc.open(nonce()))
		require.NoError(t, err)
		_, err = other.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrRefused, "only one attempt at a time")
		_, err = s.Write(nonce()) // not the nonce that it has committed to
		require.NoError(t, err)
		_, err = s.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrRefused)
		pass(time.Second)

		s, c = opened()
		_, err = s.Write(c.open(nonce()))
		require.NoError(t, err)
		expect(t, s, 32)
		s.Reset(p2p.ErrCanceled) // these were not the digits that it hoped for
		pass(time.Second)

		s, c = opened()
		_, err = s.Write(c.open(nonce()))
		require.NoError(t, err)
		expect(t, s, 32)
		began := time.Now()
		_, err = s.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrRefused)
		require.Equal(t, 10*time.Second, time.Since(began))
		_, err = i.Wait(t.Context())
		require.ErrorIs(t, err, pairing.ErrLocked)
		require.Empty(t, a.asked)

		s, c = opened()
		_, err = s.Write(c.open(nonce()))
		if err == nil {
			_, err = s.Read(make([]byte, 1))
		}
		require.ErrorIs(t, err, p2p.ErrRefused)
	})
}

// A device that is locked as the joiner is also locked as the inviter.
func TestLockedBothWays(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		b.create(t)
		theirs := b.byCode(t, b.silent)
		i := a.byCode(t, a.yes)
		for range 3 {
			require.ErrorIs(t, a.joinByCode(t, b, a.no), pairing.ErrDeclined)
			pass(time.Second)
		}
		_, err := theirs.Wait(t.Context())
		require.ErrorIs(t, err, pairing.ErrLocked)
		c := newDevice().start(t, "Carol's", network.Hooks()...)
		pass(time.Second)
		require.ErrorIs(t, c.joinByCode(t, a, c.yes), pairing.ErrPeerDeclined)
		_, err = i.Wait(t.Context())
		require.ErrorIs(t, err, pairing.ErrLocked)
	})
}

// A peer that answers by hand locks the opener, too. Attempts that it does not
// answer do not count, since it learns nothing from them.
func TestHostileAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		b := newDevice().start(t, "Bob's", network.Hooks()...)
		answers := 0
		var mux p2p.Mux
		mux.HandleFunc(pairing.CodeRoute, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
			expect(t, s, 33)
			if answers++; answers > 2 {
				s.Write(nonce())
				expect(t, s, 32)
			}
			return p2p.ErrHandlerFailed
		})
		m := &device{P2P: network.Start(t, p2p.Config{App: "pairing", Handler: &mux})}
		pass(time.Second)
		for range 5 {
			require.ErrorIs(t, b.joinByCode(t, m, b.yes), pairing.ErrUnfinished)
		}
		require.ErrorIs(t, b.joinByCode(t, m, b.yes), pairing.ErrLocked)
		require.Equal(t, 5, answers)
	})
}

// A node in the middle that otherwise follows the protocol cannot make both
// sides show the same digits.
func TestCodeInTheMiddle(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		m := newDevice()
		var mux p2p.Mux
		mux.HandleFunc(pairing.CodeRoute, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
			on := m.open(t, a.Identity(), pairing.CodeRoute)
			own := nonce()
			expect(t, s, 33)
			on.Write(compares(t, on, m.Identity(), a.Identity()).open(own))
			s.Write(expect(t, on, 32))
			expect(t, s, 32)
			on.Write(own)
			go func() { io.Copy(on, s); on.CloseWrite() }()
			_, err := io.Copy(s, on)
			return err
		})
		m.P2P = network.Start(t, p2p.Config{App: "pairing", Handler: &mux})
		pass(time.Second)
		i := a.byCode(t, a.slowly(time.Minute))
		later(t, 30*time.Second, i.Cancel)
		require.ErrorIs(t, b.joinByCode(t, m, b.yes), pairing.ErrPeerDeclined)
		require.Len(t, b.asked, 1)
		require.Equal(t, m.Identity(), b.asked[0].Node)
		nothing(t, a, b)

		i = a.byCode(t, func(ctx context.Context, d pairing.Device) bool { a.yes(ctx, d); return false })
		require.ErrorIs(t, b.joinByCode(t, m, b.yes), pairing.ErrPeerDeclined)
		pass(0)
		require.Equal(t, m.Identity(), a.asked[0].Node)
		require.NotEqual(t, a.asked[0].Code, b.asked[1].Code)
		i.Cancel()
	})
}

// Agreement that arrives as the invitation is canceled comes too late.
func TestLateYes(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		for range 200 { // which side wakes first is random
			i := a.byCode(t, a.slowly(time.Minute))
			later(t, 30*time.Second, i.Cancel)
			require.ErrorIs(t, b.joinByCode(t, a, b.yes), pairing.ErrPeerDeclined)
			nothing(t, a, b)
			pass(time.Hour) // after several failures, b has to wait
		}
	})
}

// An invitation by code outlives failed attempts, and ends in its time.
func TestCodeExpires(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		i := a.byCode(t, a.yes)
		require.ErrorIs(t, b.joinByCode(t, a, b.no), pairing.ErrDeclined)
		began := time.Now()
		_, err := i.Wait(t.Context())
		require.ErrorIs(t, err, pairing.ErrExpired)
		require.Equal(t, pairing.DefaultTime, time.Since(began))
		require.ErrorIs(t, b.joinByCode(t, a, b.yes), pairing.ErrPeerDeclined)

		i, err = a.pairing.InviteByCode(a.lib, pairing.InviteConfig{Confirm: a.no, Time: time.Minute})
		require.NoError(t, err)
		pass(30 * time.Second)
		require.ErrorIs(t, b.joinByCode(t, a, b.slowly(time.Minute)), pairing.ErrPeerDeclined)
		i.Cancel()
		i, err = a.pairing.InviteByCode(a.lib, pairing.InviteConfig{Confirm: a.slowly(time.Minute), Time: time.Minute})
		require.NoError(t, err)
		pass(30 * time.Second)
		require.NoError(t, b.joinByCode(t, a, b.yes), "an attempt may finish although the time ends while users are asked")
		_, err = i.Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, b.libraries.Remove(b.lib.ID()))

		i, err = a.pairing.InviteByCode(a.lib, pairing.InviteConfig{Confirm: a.silent, Time: time.Minute})
		require.NoError(t, err)
		require.ErrorIs(t, b.joinByCode(t, a, b.yes), pairing.ErrNoAnswer)
		_, err = i.Wait(t.Context())
		require.ErrorIs(t, err, pairing.ErrNoAnswer, "the reason why the last attempt failed")
	})
}
