package quic

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/netmon"
)

// A fakeNetwork is the state of the network as a test sets it.
type fakeNetwork struct {
	mu      sync.Mutex
	state   netmon.Snapshot
	clocks  netmon.Clocks
	changed func()
}

func (n *fakeNetwork) Read() (netmon.Snapshot, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.state
	s.Interfaces = slices.Clone(s.Interfaces) // the monitor sorts them in place
	return s, nil
}

func (n *fakeNetwork) Watch(changed, _ func()) (netmon.Watcher, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changed = changed
	return n, nil
}

func (n *fakeNetwork) Clocks() netmon.Clocks {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.clocks
}

func (*fakeNetwork) Seen(*netmon.Snapshot) {}
func (*fakeNetwork) Wakes() bool           { return true }
func (*fakeNetwork) Close()                {}

// wired is an interface that comes up.
var wired = netmon.Interface{
	Index: 1, Name: "eth0", Physical: true, Flags: net.FlagUp | net.FlagRunning | net.FlagMulticast | net.FlagBroadcast,
	Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
}

// change changes the network, and has the node look at it.
func (n *fakeNetwork) change(f func()) {
	n.mu.Lock()
	f()
	n.mu.Unlock()
	n.changed()
}

// modified waits for the next event.
func modified(events *p2p.Subscription) p2p.NetworkModified {
	for e := range events.C {
		if e, ok := e.(p2p.NetworkModified); ok {
			return e
		}
	}
	panic("no more events")
}

// track returns the path of the connection.
func (m *moving) track() track {
	m.ours.mover.mu.Lock()
	defer m.ours.mover.mu.Unlock()
	return m.ours.mover.at
}

// settled waits until no connection follows a change of the network any more.
func (m *moving) settled(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		m.ours.mover.mu.Lock()
		defer m.ours.mover.mu.Unlock()
		return !m.ours.mover.following
	}, time.Minute, time.Millisecond)
}

// A clock that is set forward looks like sleep, and costs each connection one
// packet to check that its peer is alive; a clock that is set back costs
// nothing. No connection moves.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	n := &fakeNetwork{}
	m := newMovingWith(t, Config{monitor: netmon.New(n), slack: time.Minute})
	m.talk(t, 1)
	c := m.ours
	events := c.endpoint.scope.Node().Subscribe()
	defer events.Close()
	at, to := m.track(), c.remote()

	n.change(func() { n.clocks.Wall += time.Hour })
	require.Equal(t, p2p.NetworkModified{Woke: true, Slept: time.Hour}, modified(events))
	m.settled(t)
	n.change(func() { n.clocks.Wall -= 2 * time.Hour })
	n.change(func() { n.state.Interfaces = []netmon.Interface{wired} })
	require.Equal(t, p2p.NetworkModified{}, modified(events), "setting the clock back is not reported as a change")
	m.settled(t)
	m.talk(t, 10)
	require.True(t, at == m.track())
	require.Equal(t, to, c.remote())
	require.Len(t, c.endpoint.all(), 1)
	require.False(t, c.gone())
}

// When this node's own address has changed, a connection moves at once, even
// though its peer is still heard.
func TestFollowsOwnAddress(t *testing.T) {
	t.Parallel()
	n := &fakeNetwork{}
	m := newMovingWith(t, Config{monitor: netmon.New(n)})
	m.talk(t, 1)
	c := m.ours
	c.mover.mu.Lock()
	c.mover.at.source = netip.MustParseAddr("127.0.0.77")
	c.mover.mu.Unlock()
	n.change(func() { n.state.Interfaces = []netmon.Interface{wired} })
	require.Eventually(t, func() bool { return m.track().source == netip.MustParseAddr("127.0.0.1") }, time.Minute, time.Millisecond)
	m.settled(t)
	m.talk(t, 10)
	require.Equal(t, m.to("127.0.0.1"), c.remote())
}

// silence leads the packets of the connection nowhere, while the peer still
// answers handshakes.
func (m *moving) silence(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return m.ours.move(t.Context(), m.to("127.0.0.2")) == nil }, time.Minute, time.Millisecond)
	m.talk(t, 1)
	_, ok := m.ours.lead(netip.MustParseAddrPort("127.0.0.99:9"))
	require.True(t, ok)
}

// A connection on which nothing is heard moves to an address where the peer
// answers.
func TestFollowsSilence(t *testing.T) {
	t.Parallel()
	m := newMovingWith(t, Config{slack: 2 * time.Second})
	m.silence(t)
	at := m.track()
	require.Eventually(t, func() bool {
		m.ours.endpoint.follow(m.ours)
		return m.track() != at
	}, time.Minute, time.Millisecond)
	m.talk(t, 10)
}

// A silent connection that cannot move is given up in favor of another one; a
// connection on which something is heard is kept.
func TestReplace(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	c, e := m.ours, m.ours.endpoint
	m.talk(t, 1)
	look := func() {
		if !c.alive(t.Context()) {
			e.replace(c)
		}
	}
	look()
	require.False(t, c.gone())
	m.talk(t, 1)
	m.silence(t)
	c.mover.turn <- struct{}{} // it does not move, although its silence is noticed
	require.Eventually(t, func() bool {
		look()
		return c.gone()
	}, 30*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { other := e.best(c.id); return other != nil && other != c }, time.Minute, time.Millisecond)
}

// However often the network changes, a connection follows it at first 4 times a
// second, and then every 5 s; a change that comes while it follows is not lost.
func TestFollowStorm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m, runs := &mover{}, 0
		change := func() {
			if m.wanted() {
				go m.keepFollowing(ctx, func() { runs++; time.Sleep(time.Millisecond) })
			}
			synctest.Wait()
		}
		pass := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		change()
		require.Equal(t, 1, runs)
		change()
		pass(followRest + 2*time.Millisecond)
		require.Equal(t, 2, runs, "a change that came while it followed is not lost")
		pass(time.Minute)
		require.Equal(t, 2, runs)
		began := time.Now()
		for time.Since(began) < time.Second {
			change()
			pass(10 * time.Millisecond)
		}
		require.LessOrEqual(t, runs-2, 4)
		for runs = 0; time.Since(began) < 61*time.Second; pass(100 * time.Millisecond) {
			change()
		}
		require.InDelta(t, 15, runs, 3)
		change()
		cancel()
		synctest.Wait()
		require.False(t, m.following)
	})
}
