package relay

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/hidden"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/quic"
)

// A called is a connection with a peer that was called through a relay, and
// that begins attempts.
type called struct {
	peered
	ctx     context.Context
	guarded bool // the peer may not learn this node's address
}

func (*called) Dialed() bool               { return true }
func (*called) Relayed() bool              { return true }
func (c *called) Candid() bool             { return !c.guarded }
func (c *called) Context() context.Context { return c.ctx }

// begins has the peer begin an attempt, which fails, and reports whether it was
// allowed: whether the peer was told addresses.
func (c *called) begins(r router) bool {
	ours, theirs := newScript().stream()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Punch(c, ours)
	}()
	defer func() { <-done }()
	defer theirs.Close()
	var secret [16]byte
	secret[0], secret[1] = byte(rand.N(255)), 1
	go func() {
		_, _ = theirs.Write(circuit.Punch{Type: circuit.PunchConnect, Addrs: []netip.AddrPort{host(1)}, Token: hidden.Of(secret)}.Append(nil))
	}()
	if _, err := circuit.ReadPunch(theirs); err != nil {
		return false
	}
	_, _ = theirs.Write(circuit.Punch{Type: circuit.PunchSync}.Append(nil))
	<-done
	return true
}

// A peer that begins one attempt after another has to rest between them, longer
// each time, up to half a minute; only a few attempts, and one more in each
// half minute, are exempt. Peers that use this module are never refused: they
// begin one a minute, and others after twice the rest.
func TestAttemptsHaveARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bare(t, always(newScript))
		c.cfg.Listener = quic.New(quic.Config{})
		conn := &called{peered: peered{peer: someone()}, ctx: t.Context()}
		r := router{c}
		began, let := time.Now(), 0
		for time.Since(began) < 10*time.Minute {
			if conn.begins(r) {
				let++
			} else {
				time.Sleep(100 * time.Millisecond)
			}
		}
		require.LessOrEqual(t, let, restLifts+int(10*time.Minute/restMost)+5+int(10*time.Minute/(restMost+probeFor))+1)
		require.Greater(t, let, 15)
		other := &called{peered: peered{peer: someone()}, ctx: t.Context()}
		require.True(t, other.begins(r), "another peer is not affected")

		time.Sleep(5 * time.Minute)
		var pause rest
		for range 10 {
			time.Sleep(pause.left(time.Now(), 2))
			require.True(t, conn.begins(r))
			pause = pause.after(time.Now(), false)
		}
		for range 5 {
			time.Sleep(upgradeAgain[0])
			require.True(t, conn.begins(r))
		}
		time.Sleep(3 * restMost)
		require.True(t, conn.begins(r))
		require.Len(t, c.upgrades.rests, 1, "the record of the other peer has expired")
	})
}

// The results of attempts are reported for as long as the connection exists.
func TestUpgrades(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bare(t, always(newScript))
		c.cfg.Listener = quic.New(quic.Config{})
		ctx, end := context.WithCancel(t.Context())
		conn := &called{peered: peered{peer: someone()}, ctx: ctx}
		r := router{c}
		r.Connected(conn)
		up := c.Upgrades()
		require.Equal(t, []Upgrade{{Peer: conn.peer, Dialed: true, Since: time.Now(), Err: ErrNotBegun}}, up)
		require.True(t, conn.begins(r))
		up = c.Upgrades()
		require.Equal(t, []Upgrade{{Peer: conn.peer, Dialed: true, Attempts: 1, Since: time.Now(), Err: ErrNoDirectPath, Tried: []netip.AddrPort{host(1)}}}, up)
		end()
		synctest.Wait()
		require.Empty(t, c.Upgrades())

		stranger := &caller{called: called{peered: peered{peer: someone()}, ctx: t.Context()}}
		r.Connected(stranger)
		require.ErrorIs(t, c.Upgrades()[0].Err, ErrNotTracked)
		c.cfg.Only = true
		r.Connected(stranger)
		require.ErrorIs(t, c.Upgrades()[0].Err, ErrOnly)
	})
}

// With a peer that may not learn this node's address, no attempt is begun, and
// the node takes part in none that the peer begins, however often.
func TestGuardedAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bare(t, always(newScript))
		c.cfg.Listener = quic.New(quic.Config{})
		r := router{c}
		for _, guarded := range []bool{true, false} {
			theirs := &called{peered: peered{peer: someone()}, ctx: t.Context(), guarded: guarded}
			require.Equal(t, !guarded, theirs.begins(r))
			time.Sleep(time.Hour)
			require.Equal(t, !guarded, theirs.begins(r))

			ours := &caller{called: called{peered: peered{peer: someone()}, ctx: t.Context(), guarded: guarded}}
			c.node = friends{ours.peer: true}
			r.Connected(ours)
			time.Sleep(time.Hour)
			c.elsewhere() // reports a change of the network
			time.Sleep(time.Hour)
			require.Equal(t, guarded, ours.opened.Load() == 0)
		}
	})
}

// A caller is a connection with a peer that has called this node.
type caller struct {
	called
	opened atomic.Int32 // number of streams, which are attempts
}

func (*caller) Dialed() bool { return false }

func (c *caller) Open(context.Context, string) (junction.Stream, error) {
	c.opened.Add(1)
	return nil, errTest
}
