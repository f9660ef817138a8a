package relay

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/quic"
)

// A moving connection joins two clients, which make attempts with each other.
// An attempt succeeds if there is a direct path at its time.
type moving struct {
	peered
	ctx    context.Context
	dialed bool
	other  *moving
	of     *Client
	way    *way
	told   atomic.Int32 // times that the other side has told its address
}

// A way is the state of a connection, which both ends share.
type way struct {
	relayed, path atomic.Bool
	attempts      atomic.Int32 // number of attempts that were allowed
}

func (m *moving) Dialed() bool             { return m.dialed }
func (m *moving) Relayed() bool            { return m.way.relayed.Load() }
func (m *moving) Candid() bool             { return true }
func (m *moving) Stranger() bool           { return false }
func (m *moving) Context() context.Context { return m.ctx }

// Look lets an attempt find the direct path, if there is one.
func (m *moving) Look() {
	if m.way.path.Load() {
		m.way.relayed.Store(false)
	}
}

func (m *moving) Tell([]netip.AddrPort) {
	m.other.told.Add(1)
	router{m.other.of}.Moved(m.other)
}

func (m *moving) Open(context.Context, string) (junction.Stream, error) {
	ours, theirs := newScript().stream()
	go router{m.other.of}.Punch(m.other, &counted{Stream: oneWay{theirs}, n: &m.way.attempts})
	return ours, nil
}

// A counted stream counts itself when it is written to.
type counted struct {
	junction.Stream
	n       *atomic.Int32
	written bool
}

func (c *counted) Write(b []byte) (int, error) {
	if !c.written {
		c.written = true
		c.n.Add(1)
	}
	return c.Stream.Write(b)
}

// connect returns both ends of a relayed connection, and its state.
func connect(t *testing.T) (caller, callee *moving, w *way) {
	w = new(way)
	w.relayed.Store(true)
	ends := [2]*moving{}
	for i := range ends {
		c := bare(t, always(newScript))
		c.cfg.Listener = quic.New(quic.Config{})
		ends[i] = &moving{peered: peered{peer: someone()}, ctx: c.ctx, dialed: i == 0, of: c, way: w}
		c.node = friends{ends[i].peer: true}
	}
	caller, callee = ends[0], ends[1]
	caller.other, callee.other = callee, caller
	for _, m := range ends {
		router{m.of}.Connected(m)
	}
	return caller, callee, w
}

// A connection that keeps moving between the relay and a direct path does not
// have to rest between attempts, since each one has succeeded.
func TestMovesHaveNoRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, callee, w := connect(t)
		began := time.Now()
		for i := range 40 {
			w.path.Store(true)
			for began := time.Now(); w.relayed.Load(); time.Sleep(lookEvery) {
				require.Less(t, time.Since(began), 2*restFirst+time.Second, i)
			}
			require.EqualValues(t, i+1, w.attempts.Load())
			time.Sleep(time.Second)
			w.path.Store(false)
			w.relayed.Store(true)
			for _, m := range []*moving{caller, callee} {
				router{m.of}.Connected(m)
			}
		}
		require.Less(t, time.Since(began), 2*time.Minute)
	})
}

// After attempts that failed, a change of either side's network makes both look
// at once, a few times; after that, no more often than others may.
func TestChangedNetworkHasNoRest(t *testing.T) {
	for _, side := range []string{"caller", "callee"} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller, callee, w := connect(t)
				changed := map[string]*moving{"caller": caller, "callee": callee}[side]
				tire(caller, callee, w)
				let := w.attempts.Load()
				changes := int32(0)
				change := func() {
					changes++
					changed.of.look()
					time.Sleep(probeFor + time.Second)
				}
				for range restLifts {
					change()
					let++
					require.Equal(t, let, w.attempts.Load())
				}
				if side == "caller" {
					require.Equal(t, changes, callee.told.Load())
				} else {
					require.Zero(t, caller.told.Load(), "the caller learns the address in the attempt")
				}
				began := time.Now()
				for time.Since(began) < 10*time.Minute {
					change()
				}
				most := 10*time.Minute/(2*restMost) + 10*time.Minute/(2*restMost+probeFor) + 2
				require.LessOrEqual(t, w.attempts.Load()-let, int32(most))
				require.Greater(t, w.attempts.Load()-let, int32(8))
			})
		})
	}
}

// tire makes attempts that fail until the rest between them is the longest.
func tire(caller, callee *moving, w *way) {
	for range 10 {
		for _, m := range []*moving{caller, callee} {
			router{m.of}.Connected(m)
		}
		time.Sleep(probeFor + 2*restMost)
	}
	time.Sleep(2 * probeFor)
}

// When a relay sees the node at another address, the node looks for direct
// paths; if a relay keeps reporting other addresses, the node looks no more
// often than others.
func TestSeenElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, callee, w := connect(t)
		tire(caller, callee, w)
		let, began := w.attempts.Load(), time.Now()
		c := caller.of
		l := newLink(newServer(c, entries(1)[0]), newScript())
		l.seen(host(1))
		l.seen(host(1))
		require.Zero(t, callee.told.Load(), "the first address is no change")
		for i := range 600 {
			l.seen(host(2 + i))
			time.Sleep(time.Second)
			if i == 0 {
				require.Equal(t, let+1, w.attempts.Load())
			}
		}
		most := int(time.Since(began)/(2*restMost)+time.Since(began)/(2*restMost+probeFor)) + restLifts + 2
		require.LessOrEqual(t, w.attempts.Load()-let, int32(most))
		require.EqualValues(t, 600, callee.told.Load())
	})
}

// A direct path to a peer that was a stranger when it called is looked for once
// the peer is tracked, as after pairing.
func TestStrangerIsKnownLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, callee, w := connect(t)
		w.path.Store(true)
		time.Sleep(time.Second)
		require.EqualValues(t, 1, w.attempts.Load())
		knows := func(all friends) {
			callee.of.mu.Lock()
			defer callee.of.mu.Unlock()
			callee.of.node = all
		}
		next := &moving{peered: callee.peered, ctx: callee.ctx, other: caller, of: callee.of, way: w}
		w.relayed.Store(true)
		knows(friends{})
		router{callee.of}.Connected(next)
		time.Sleep(2 * restFirst)
		require.EqualValues(t, 1, w.attempts.Load())
		require.True(t, next.Relayed())
		knows(friends{callee.peer: true})
		for range 2 {
			callee.of.knows()
			time.Sleep(time.Second)
			require.EqualValues(t, 2, w.attempts.Load())
			require.False(t, next.Relayed())
		}
	})
}
