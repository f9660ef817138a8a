package pairing_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/tunnel"
)

var joinersNode identity.Identity // in the current test

// A joiner with a ticket may send anything: it gets nothing, and the inviter's
// error says why.
func TestHostileJoiner(t *testing.T) {
	hello := helloOf("M")
	handsIn := func(alter func(a *device, s *roster.Statement)) func(t *testing.T, a *device, c *tunnel.Conn) {
		return func(t *testing.T, a *device, c *tunnel.Conn) {
			c.Write(append(hello, 0))
			pass(61 * time.Second)
			r := a.lib.Record()
			instance := identity.New()
			s, err := r.First(joinersNode, instance)
			require.NoError(t, err)
			alter(a, &s)
			b, err := s.AppendBinary([]byte{0})
			require.NoError(t, err)
			c.Write(b)
		}
	}
	for name, test := range map[string]struct {
		says  func(t *testing.T, a *device, c *tunnel.Conn)
		want  error
		asked int
		takes time.Duration
	}{
		"nothing":           {func(t *testing.T, a *device, c *tunnel.Conn) {}, pairing.ErrUnfinished, 0, 10 * time.Second},
		"half a word":       {func(t *testing.T, a *device, c *tunnel.Conn) { c.Write(hello[:3]) }, pairing.ErrUnfinished, 0, 10 * time.Second},
		"the end":           {func(t *testing.T, a *device, c *tunnel.Conn) { c.Close() }, pairing.ErrUnfinished, 0, 0},
		"version 1":         {func(t *testing.T, a *device, c *tunnel.Conn) { c.Write([]byte{1}) }, pairing.ErrProtocol, 0, 0},
		"an unknown status": {func(t *testing.T, a *device, c *tunnel.Conn) { c.Write(append(hello, 9)) }, pairing.ErrProtocol, 1, 0},
		"yes twice":         {func(t *testing.T, a *device, c *tunnel.Conn) { c.Write(append(hello, 0, 0)) }, pairing.ErrProtocol, 1, 0},
		"no":                {func(t *testing.T, a *device, c *tunnel.Conn) { c.Write(append(hello, 2)) }, pairing.ErrPeerDeclined, 1, 0},
		"no after yes": {func(t *testing.T, a *device, c *tunnel.Conn) {
			c.Write(append(hello, 0))
			pass(time.Second)
			c.Write([]byte{2})
		}, pairing.ErrPeerDeclined, 1, time.Second},
		"gone after yes": {func(t *testing.T, a *device, c *tunnel.Conn) {
			c.Write(append(hello, 0))
			pass(time.Second)
			c.Abort(io.EOF)
		}, pairing.ErrUnfinished, 1, time.Second},
		"silence": {func(t *testing.T, a *device, c *tunnel.Conn) { c.Write(hello) }, pairing.ErrNoAnswer, 1, pairing.ConfirmTime},
		"silence after the secret": {func(t *testing.T, a *device, c *tunnel.Conn) { c.Write(append(hello, 0)) },
			pairing.ErrUnfinished, 1, time.Minute + 20*time.Second},
		"it has not kept it": {func(t *testing.T, a *device, c *tunnel.Conn) {
			c.Write(append(hello, 0))
			pass(61 * time.Second)
			c.Write([]byte{4})
		},
			pairing.ErrPeerFailed, 1, 61 * time.Second},
		"another node's first": {handsIn(func(a *device, s *roster.Statement) {
			r := a.lib.Record()
			*s, _ = r.First(identity.New(), identity.New())
		}), pairing.ErrProtocol, 1, 61 * time.Second},
		"forged": {handsIn(func(_ *device, s *roster.Statement) { s.Time++ }), roster.ErrInvalid, 1, 61 * time.Second},
		"the inviter's own first": {handsIn(func(a *device, s *roster.Statement) { *s = a.lib.Record().Statements[0] }),
			pairing.ErrProtocol, 1, 61 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a, b := two(t, network)
				joinersNode = b.id
				before := a.lib.Record()
				i := a.invite(t, pairing.InviteConfig{Confirm: func(ctx context.Context, d pairing.Device) bool {
					a.yes(ctx, d)
					select {
					case <-time.After(time.Minute):
					case <-ctx.Done():
					}
					return true
				}})
				c, err := b.present(t, i.Ticket())
				require.NoError(t, err)
				began := time.Now()
				test.says(t, a, c)
				_, err = i.Wait(t.Context())
				if require.Error(t, err); test.want != nil {
					require.ErrorIs(t, err, test.want)
				}
				require.InDelta(t, test.takes, time.Since(began), float64(10*time.Millisecond))
				pass(0)
				require.Len(t, a.asked, test.asked)
				require.Equal(t, before, a.lib.Record())
			})
		})
	}
}

// A device's name cannot control a terminal.
func TestNameIsPlain(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		i := a.invite(t, pairing.InviteConfig{Confirm: func(ctx context.Context, d pairing.Device) bool { a.yes(ctx, d); return false }})
		c, err := b.present(t, i.Ticket())
		require.NoError(t, err)
		_, err = c.Write(helloOf("Bob\x1b[2J\ncode 123456\u202e"))
		require.NoError(t, err)
		_, err = i.Wait(t.Context())
		require.ErrorIs(t, err, pairing.ErrDeclined)
		require.Equal(t, "Bob[2J code 123456", a.asked[0].Name)
	})
}

// Guessing a ticket yields what every stranger gets, in any state of the node:
// the same error, at the same time.
func TestGuessed(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		guess := craft(t, a.Identity(), [16]byte{1}, time.Now().Add(time.Hour))
		seen := map[string]bool{}
		attempt := func(ticket pairing.Ticket) {
			t.Helper()
			began := time.Now()
			_, err := b.present(t, ticket)
			require.ErrorIs(t, err, tunnel.ErrHandshake)
			require.ErrorIs(t, err, p2p.ErrTunnelRefused)
			require.Equal(t, 250*time.Millisecond, time.Since(began))
			seen[err.Error()] = true
			err = b.join(t.Context(), ticket, b.yes)
			require.ErrorIs(t, err, pairing.ErrRefused)
			require.NotErrorIs(t, err, pairing.ErrExpired)
			peer, ok := b.Peer(a.Identity())
			require.True(t, ok)
			require.NotContains(t, peer.Info().DiscoveredBy, "pairing", "pairing no longer vouches for the peer")
			pass(time.Second)
		}
		attempt(guess) // there is no invitation
		i := a.invite(t, pairing.InviteConfig{})
		attempt(guess)
		cancelled := a.invite(t, pairing.InviteConfig{})
		cancelled.Cancel()
		attempt(cancelled.Ticket())
		require.Len(t, seen, 1)
		require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes), "the ticket is still valid")
	})
}
