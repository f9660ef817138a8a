package tunnel

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// crowd returns many nodes.
func crowd(t testing.TB, n int) (all []identity.RemoteIdentity) {
	for i := range n {
		all = append(all, named(t, fmt.Sprint("node ", i)).Remote())
	}
	return all
}

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// enters counts how many of n attempts are admitted at a time; they leave at once if they shall.
func enters(l *limiter, peer identity.RemoteIdentity, known bool, now time.Time, n int, leave bool) (admitted int) {
	for range n {
		f, err := l.enter(peer, known, now)
		if err != nil {
			continue
		}
		admitted++
		if leave {
			f()
		}
	}
	return admitted
}

// A peer has 4 unfinished handshakes, and 5 attempts in a second, known or not; other peers do not suffer from it.
func TestLimitsOfPeer(t *testing.T) {
	nodes := crowd(t, 2)
	for _, known := range []bool{false, true} {
		l := newLimiter(Limits{})
		require.Equal(t, 4, enters(l, nodes[0], known, epoch, 20, false))
		require.Equal(t, 4, enters(l, nodes[1], known, epoch, 20, false))
		require.Zero(t, enters(l, nodes[0], known, epoch.Add(time.Hour), 20, false), "unfinished ones do not become old")

		l = newLimiter(Limits{})
		require.Equal(t, 5, enters(l, nodes[0], known, epoch, 20, true))
		require.Equal(t, 5, enters(l, nodes[1], known, epoch, 20, true))
		require.Zero(t, enters(l, nodes[0], known, epoch.Add(199*time.Millisecond), 20, true))
		require.Equal(t, 1, enters(l, nodes[0], known, epoch.Add(201*time.Millisecond), 20, true))
		require.Equal(t, 2, enters(l, nodes[0], known, epoch.Add(602*time.Millisecond), 20, true))
		require.Equal(t, 5, enters(l, nodes[0], known, epoch.Add(time.Hour), 20, true), "what was not used is not saved up")
		_, err := l.enter(nodes[0], known, epoch.Add(time.Hour))
		require.ErrorIs(t, err, ErrBusy)
	}
}

// 32 handshakes run at a time, 16 of them by strangers.
func TestLimitsInFlight(t *testing.T) {
	nodes := crowd(t, 40)
	l := newLimiter(Limits{})
	all := func(known bool, from, to int) (admitted int) {
		for _, n := range nodes[from:to] {
			admitted += enters(l, n, known, epoch, 1, false)
		}
		return admitted
	}
	require.Equal(t, 16, all(false, 0, 20))
	require.Equal(t, 16, all(true, 20, 40))
	require.Zero(t, all(true, 0, 40))

	l = newLimiter(Limits{})
	require.Equal(t, 32, all(true, 0, 40), "members may have all of it")
	require.Zero(t, all(false, 0, 40))

	// Whoever leaves makes room for one.
	l = newLimiter(Limits{})
	require.Equal(t, 15, all(false, 0, 15))
	leave, err := l.enter(nodes[15], false, epoch)
	require.NoError(t, err)
	require.Zero(t, all(false, 16, 40))
	leave()
	require.Equal(t, 1, all(false, 16, 40))
}

// 100 attempts are made in a second, and strangers leave half of them.
func TestLimitsPerSecond(t *testing.T) {
	nodes := crowd(t, 200)
	l := newLimiter(Limits{})
	all := func(known bool, now time.Time, from, to int) (admitted int) {
		for _, n := range nodes[from:to] {
			admitted += enters(l, n, known, now, 1, true)
		}
		return admitted
	}
	require.Equal(t, 50, all(false, epoch, 0, 100))
	require.Equal(t, 50, all(true, epoch, 100, 200))
	require.Zero(t, all(true, epoch, 0, 100))
	later := epoch.Add(500*time.Millisecond + time.Microsecond)
	require.Zero(t, all(false, later, 0, 100), "half is what members have for themselves")
	require.Equal(t, 50, all(true, later, 0, 100))

	l = newLimiter(Limits{})
	require.Equal(t, 100, all(true, epoch, 0, 200))
	require.Zero(t, all(false, epoch, 0, 200))
	for s := range 100 { // a flood of strangers never takes more than 100 a second, nor the last 50
		now := epoch.Add(time.Duration(s+1) * 10 * time.Second)
		require.LessOrEqual(t, all(false, now, 0, 200), 100)
		require.GreaterOrEqual(t, all(true, now, 0, 200), 50)
	}
}

// Peers are forgotten: their number is bounded by the attempts of a second.
func TestLimitsForget(t *testing.T) {
	nodes := crowd(t, 500)
	l := newLimiter(Limits{})
	for i := range 5000 {
		enters(l, nodes[i%len(nodes)], i%2 == 0, epoch.Add(time.Duration(i)*10*time.Millisecond), 1, true)
		require.LessOrEqual(t, len(l.peers), 101)
	}
	busy := named(t, "busy").Remote()
	require.Equal(t, 4, enters(l, busy, true, epoch.Add(time.Hour), 4, false))
	enters(l, nodes[0], true, epoch.Add(2*time.Hour), 1, true)
	require.Zero(t, enters(l, busy, true, epoch.Add(2*time.Hour), 4, false), "one with unfinished handshakes is not forgotten")
}

// Limits can be set; small ones still admit.
func TestLimitsSet(t *testing.T) {
	nodes := crowd(t, 20)
	l := newLimiter(Limits{PeerInFlight: 1, PeerPerSecond: 2, InFlight: 3, PerSecond: 4})
	require.Equal(t, 1, enters(l, nodes[0], true, epoch, 9, false))
	require.Equal(t, 1, enters(l, nodes[1], false, epoch, 9, false))
	require.Zero(t, enters(l, nodes[2], false, epoch, 9, false))
	require.Equal(t, 1, enters(l, nodes[2], true, epoch, 9, false))
	require.Zero(t, enters(l, nodes[3], true, epoch, 9, false))
	require.Equal(t, newLimiter(Limits{}).Limits, newLimiter(Limits{-1, -1, -1, -1}).Limits)
	require.Equal(t, Limits{4, 5, 32, 100}, newLimiter(Limits{}).Limits)
	require.Equal(t, 1, enters(newLimiter(Limits{1, 1, 1, 1}), nodes[0], false, epoch, 9, true))
}

// Silent streams of many strangers do not keep a member out, nor does one of a member's own that fell silent.
func TestStrangersDoNotLockOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.responder = NewResponder(w.dir, Limits{})
		begun := time.Now()
		results := make(chan error, 200)
		for _, stranger := range crowd(t, 50) {
			for range 4 {
				_, b := link(1 << 10)
				s := w.accepting(b)
				s.Remote = stranger
				go func() {
					_, err := w.responder.Accept(t.Context(), s)
					results <- err
				}()
			}
		}
		synctest.Wait()
		require.Len(t, results, 200-16, "those over the limits are told at once")
		_, silent := link(1 << 10)
		w.accept(t.Context(), w.accepting(silent))
		a, b := link(1 << 16)
		i, r := w.open(t, a, b)
		require.Equal(t, 5*time.Millisecond, time.Since(begun), "but for the confirmation, which waits for data")
		i.Abort(context.Canceled)
		r.Abort(context.Canceled)
		time.Sleep(10 * time.Second)
		busy := 0
		for range 200 {
			if err := <-results; err != ErrTimeout {
				require.ErrorIs(t, err, ErrBusy)
				busy++
			}
		}
		require.Equal(t, 200-16, busy)
	})
}

// Over the limits, a stream is reset at once and nothing is read. A place is free again once a handshake ends, well or badly.
func TestAcceptBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.responder = NewResponder(w.dir, Limits{PeerInFlight: 1, PeerPerSecond: 1000})
		busy := func() bool {
			a, b := link(1 << 16)
			a.Write(w.m1(t))
			begun := time.Now()
			done := w.accept(t.Context(), w.accepting(b))
			synctest.Wait()
			if len(done) == 0 {
				a.Reset()
				<-done
				return false
			}
			(<-done).failed(t, b, ErrBusy)
			require.Equal(t, begun, *b.resetAt.Load())
			require.Zero(t, b.bytes.Load())
			return true
		}
		a, b := link(1 << 16)
		done := w.accept(t.Context(), w.accepting(b))
		synctest.Wait()
		require.True(t, busy())
		a.Write(w.m1(t)) // and no confirmation
		synctest.Wait()
		require.True(t, busy())
		(<-done).failed(t, b, ErrTimeout)
		synctest.Wait()
		require.False(t, busy())

		a, b = link(1 << 16)
		i, r := w.open(t, a, b)
		require.False(t, busy(), "a tunnel holds no place")
		i.Abort(context.Canceled)
		r.Abort(context.Canceled)
	})
}

// An Allow that never returns is refused in time, and keeps its place; one that ends its goroutine is refused.
func TestAllowForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.responder = NewResponder(w.dir, Limits{PeerInFlight: 2, PeerPerSecond: 1000})
		let := make(chan struct{})
		w.dir.allow = func(context.Context, Member) bool { <-let; return true }
		try := func() (o outcome, after time.Duration, b *end) {
			a, b := link(1 << 16)
			a.Write(w.m1(t))
			begun := time.Now()
			o = <-w.accept(t.Context(), w.accepting(b))
			return o, b.resetAt.Load().Sub(begun), b
		}
		for range 2 {
			o, after, b := try()
			o.failed(t, b, ErrUnauthorized)
			require.Equal(t, 250*time.Millisecond, after)
			require.Zero(t, b.bytes.Load())
		}
		time.Sleep(time.Hour)
		o, after, b := try()
		o.failed(t, b, ErrBusy)
		require.Zero(t, after)
		close(let)
		synctest.Wait()
		w.dir.allow = func(context.Context, Member) bool { panic(nil) }
		o, after, b = try()
		o.failed(t, b, ErrUnauthorized)
		require.Equal(t, 250*time.Millisecond, after)
	})
}

// Allow hears who is there, and a context that ends with its time.
func TestAllowAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var asked []Member
		w.dir.allow = func(ctx context.Context, m Member) bool {
			asked = append(asked, m)
			at, ok := ctx.Deadline()
			return ok && time.Until(at) == 200*time.Millisecond
		}
		a, b := link(1 << 16)
		i, r := w.open(t, a, b)
		require.Equal(t, []Member{{w.iInstance.Remote(), w.iNode.Remote()}}, asked)
		i.Abort(context.Canceled)
		r.Abort(context.Canceled)
	})
}

// A clock that jumps, or attempts that took the time in another order than they come in, neither lock anybody out nor give more
// than a second's worth.
func TestLimitsClock(t *testing.T) {
	node := crowd(t, 1)[0]
	l := newLimiter(Limits{})
	require.Equal(t, 5, enters(l, node, true, epoch, 20, true))
	require.Zero(t, enters(l, node, true, epoch.Add(-time.Hour), 20, true))
	require.Equal(t, 5, enters(l, node, true, epoch.Add(time.Second), 20, true))
	require.Equal(t, 5, enters(l, node, true, epoch.Add(100*365*24*time.Hour), 20, true))
	for range 100 {
		enters(l, node, true, epoch, 1, true)
		enters(l, node, true, epoch.Add(100*365*24*time.Hour), 1, true)
	}
	require.Equal(t, 5, enters(l, node, true, epoch.Add(100*365*24*time.Hour+time.Second), 20, true))
}
