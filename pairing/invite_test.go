package pairing_test

import (
	"bytes"
	"context"
	"image/png"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/pairing/qr"
)

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

// The largest possible ticket fits in a code that a camera can read.
func TestLargestTicketAsCode(t *testing.T) {
	t.Parallel()
	a := newDevice().start(t, "Alice's").create(t)
	wide := netip.MustParseAddrPort("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535")
	relays := []pairing.TicketRelay{{Node: identity.New().Remote(), Addr: wide}, {Node: identity.New().Remote(), Addr: wide}}
	ticket := a.invite(t, pairing.InviteConfig{Addrs: []netip.AddrPort{wide, wide, wide, wide}, Relays: relays}).Ticket()
	ticket.Ephemeral = identity.New().Remote()
	image, err := qr.PNG(ticket.Text(), 2)
	require.NoError(t, err)
	size, err := png.DecodeConfig(bytes.NewReader(image))
	require.NoError(t, err)
	require.LessOrEqual(t, size.Width, 2*(17+4*12+2*4), "version 12, and its margin")
	got, err := pairing.ParseTicket(ticket.Text())
	require.NoError(t, err)
	require.Equal(t, relays, got.Relays)
	_, err = a.pairing.Invite(a.lib, pairing.InviteConfig{Confirm: a.yes, Relays: append(relays, relays[0])})
	require.Error(t, err)
}

// A second device with the same ticket is told that it was used, and so is the
// user who has made it.
func TestUsed(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		c := newDevice().start(t, "Carol's", network.Hooks()...)
		var refused []pairing.Device
		i := a.invite(t, pairing.InviteConfig{Confirm: a.slowly(time.Minute), Refused: func(d pairing.Device) { refused = append(refused, d) }})
		later(t, time.Second, func() { require.ErrorIs(t, c.join(t.Context(), i.Ticket(), c.yes), pairing.ErrUsed) })
		require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
		require.ErrorIs(t, c.join(t.Context(), i.Ticket(), c.yes), pairing.ErrUsed, "the ticket stays used")
		require.Empty(t, c.asked)
		require.Len(t, refused, 2)
		for _, d := range refused {
			require.Equal(t, c.Identity(), d.Node)
			require.Equal(t, "Carol's", d.Name)
			require.Regexp(t, "^[0-9]{6}$", d.Code)
			require.NotEqual(t, a.asked[0].Code, d.Code)
		}
		members(t, a, b)
		pass(0)    // the invitation ends a moment after the device has joined
		i.Cancel() // now it is forgotten
		require.ErrorIs(t, c.join(t.Context(), i.Ticket(), c.yes), pairing.ErrRefused)
		require.Len(t, refused, 2)
		_, err := i.Wait(t.Context())
		require.NoError(t, err)
	})
}

// If two devices use one ticket at the same time, one of them joins.
func TestTwoAtOnce(t *testing.T) {
	for range 25 {
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, b := two(t, network)
			c := newDevice().start(t, "Carol's", network.Hooks()...)
			pass(time.Second)
			i := a.invite(t, pairing.InviteConfig{})
			errs := map[*device]error{}
			var mu sync.Mutex
			var both sync.WaitGroup
			for _, d := range []*device{b, c} {
				both.Go(func() {
					err := d.join(t.Context(), i.Ticket(), d.yes)
					mu.Lock()
					defer mu.Unlock()
					errs[d] = err
				})
			}
			both.Wait()
			if errs[b] != nil {
				b, c = c, b
			}
			require.NoError(t, errs[b])
			require.ErrorIs(t, errs[c], pairing.ErrUsed)
			m, err := i.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, b.lib.Instance(), m.Instance)
			require.Empty(t, c.libraries.All())
			members(t, a, b)
		})
	}
}
