package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
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

// enters returns how many of n simultaneous attempts of a stranger are
// admitted; each leaves at once if leave is true.
func enters(l *limiter, peer identity.RemoteIdentity, now time.Time, n int, leave bool) (admitted int) {
	for range n {
		p, err := l.enterStranger(peer, netip.Addr{}, now, nil)
		if err != nil {
			continue
		}
		admitted++
		if leave {
			p.leave()
		}
	}
	return admitted
}

// A stranger may have 4 unfinished handshakes, and 5 attempts in a second;
// others are not affected.
func TestLimitsOfPeer(t *testing.T) {
	nodes := crowd(t, 2)
	l := newLimiter(Limits{})
	require.Equal(t, 4, enters(l, nodes[0], epoch, 20, false))
	require.Equal(t, 4, enters(l, nodes[1], epoch, 20, false))
	require.Zero(t, enters(l, nodes[0], epoch.Add(time.Hour), 20, false), "unfinished handshakes do not expire")

	l = newLimiter(Limits{})
	require.Equal(t, 5, enters(l, nodes[0], epoch, 20, true))
	require.Equal(t, 5, enters(l, nodes[1], epoch, 20, true))
	require.Zero(t, enters(l, nodes[0], epoch.Add(199*time.Millisecond), 20, true))
	require.Equal(t, 1, enters(l, nodes[0], epoch.Add(201*time.Millisecond), 20, true))
	require.Equal(t, 2, enters(l, nodes[0], epoch.Add(602*time.Millisecond), 20, true))
	require.Equal(t, 5, enters(l, nodes[0], epoch.Add(time.Hour), 20, true), "unused attempts do not add up")
	_, err := l.enterStranger(nodes[0], netip.Addr{}, epoch.Add(time.Hour), nil)
	require.ErrorIs(t, err, ErrBusy)
}

// 32 handshakes may run at a time, 16 of them with strangers.
func TestLimitsInFlight(t *testing.T) {
	nodes := crowd(t, 40)
	strangers := func(l *limiter, from, to int) (admitted int) {
		for _, n := range nodes[from:to] {
			admitted += enters(l, n, epoch, 1, false)
		}
		return admitted
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	members := func(l *limiter, from, to int) (admitted []*place) {
		for _, n := range nodes[from:to] {
			if p, err := l.enter(done, n); err == nil {
				admitted = append(admitted, p)
			}
		}
		return admitted
	}
	l := newLimiter(Limits{})
	require.Equal(t, 16, strangers(l, 0, 20))
	require.Len(t, members(l, 20, 40), 16)
	require.Empty(t, members(l, 0, 40))

	l = newLimiter(Limits{})
	in := members(l, 0, 40)
	require.Len(t, in, 32, "members may have all places")
	require.Zero(t, strangers(l, 0, 40))
	for _, p := range in { // each one that leaves makes room for another
		p.leave()
		p.leave()
		require.Len(t, members(l, 39, 40), 1)
		break
	}
}

// All strangers together may have 50 attempts in a second.
func TestLimitsPerSecond(t *testing.T) {
	nodes := crowd(t, 200)
	l := newLimiter(Limits{})
	all := func(now time.Time) (admitted int) {
		for _, n := range nodes {
			admitted += enters(l, n, now, 1, true)
		}
		return admitted
	}
	require.Equal(t, 50, all(epoch))
	require.Equal(t, 25, all(epoch.Add(500*time.Millisecond+time.Microsecond)))
	require.Equal(t, 50, all(epoch.Add(time.Hour)))
}

// Strangers are forgotten: the limit of attempts in a second also bounds their
// number.
func TestLimitsForget(t *testing.T) {
	nodes := crowd(t, 500)
	l := newLimiter(Limits{})
	for i := range 5000 {
		enters(l, nodes[i%len(nodes)], epoch.Add(time.Duration(i)*20*time.Millisecond), 1, true)
		require.LessOrEqual(t, len(l.peers), 51)
	}
	busy := named(t, "busy").Remote()
	require.Equal(t, 4, enters(l, busy, epoch.Add(time.Hour), 4, false))
	enters(l, nodes[0], epoch.Add(2*time.Hour), 1, true)
	require.Zero(t, enters(l, busy, epoch.Add(2*time.Hour), 4, false), "a stranger with unfinished handshakes is not forgotten")
}

// Limits can be set; small ones still admit some handshakes.
func TestLimitsSet(t *testing.T) {
	nodes := crowd(t, 20)
	l := newLimiter(Limits{PeerInFlight: 1, PeerPerSecond: 2, InFlight: 3, PerSecond: 4})
	require.Equal(t, 1, enters(l, nodes[0], epoch, 9, false))
	require.Equal(t, 1, enters(l, nodes[1], epoch, 9, false))
	require.Zero(t, enters(l, nodes[2], epoch, 9, false))
	_, err := l.enter(t.Context(), nodes[2])
	require.NoError(t, err)
	require.Equal(t, newLimiter(Limits{}).Limits, newLimiter(Limits{-1, -1, -1, -1, -1, false}).Limits)
	require.Equal(t, Limits{4, 5, 32, 50, 8, false}, newLimiter(Limits{}).Limits)
	require.Equal(t, 1, enters(newLimiter(Limits{1, 1, 1, 1, 1, false}), nodes[0], epoch, 9, true))
}

// The handshakes of a known node take turns: 40 simultaneous ones all succeed,
// four at a time, and one that has waited for more than 10 s is refused.
func TestMembersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(Limits{})
		member := crowd(t, 1)[0]
		var done sync.WaitGroup
		for range 40 {
			done.Go(func() {
				p, err := l.enter(t.Context(), member)
				require.NoError(t, err)
				l.mu.Lock()
				require.LessOrEqual(t, p.peer.inFlight, 4)
				l.mu.Unlock()
				time.Sleep(time.Second)
				p.leave()
			})
		}
		begun := time.Now()
		done.Wait()
		require.Equal(t, 10*time.Second, time.Since(begun))
		require.Empty(t, l.peers)
		for range 4 {
			_, err := l.enter(t.Context(), member)
			require.NoError(t, err)
		}
		begun = time.Now()
		_, err := l.enter(t.Context(), member)
		require.ErrorIs(t, err, ErrBusy)
		require.Equal(t, 10*time.Second, time.Since(begun))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = l.enter(ctx, member)
		require.ErrorIs(t, err, ErrBusy)
		require.Empty(t, l.waiting)
	})
}

// A silent stranger loses its place to a new one: after 300 ms, or at once if
// its address holds more places than any other.
func TestSilenceLosesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := crowd(t, 40)
		addr := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, n}) }
		l := newLimiter(Limits{PerSecond: 1000})
		evicted := make(chan int, 100)
		enter := func(n int, at byte) (*place, error) {
			return l.enterStranger(nodes[n], addr(at), time.Now(), func() { evicted <- n })
		}
		for n := range 16 { // each from an address of its own
			_, err := enter(n, byte(n))
			require.NoError(t, err)
		}
		_, err := enter(16, 16)
		require.ErrorIs(t, err, ErrBusy)
		time.Sleep(300 * time.Millisecond)
		p, err := enter(16, 16)
		require.NoError(t, err)
		require.Equal(t, 0, <-evicted)
		p.hear()
		for n := 17; n < 32; n++ {
			_, err := enter(n, byte(n))
			require.NoError(t, err)
			require.Equal(t, n-16, <-evicted)
		}
		time.Sleep(time.Hour)
		for n := range 16 { // the one that has spoken keeps its place
			_, err := enter(n, byte(n))
			require.NoError(t, err)
			require.NotEqual(t, 16, <-evicted)
			if n == 14 {
				break
			}
		}
		p.leave()

		l = newLimiter(Limits{PerSecond: 1000})
		for n := range 9 { // two addresses hold all places
			_, err := enter(n, 1)
			require.Equal(t, n == 8, err != nil, "8 places for one address")
			_, err = enter(10+n, 2)
			require.Equal(t, n == 8, err != nil)
		}
		_, err = enter(30, 3)
		require.NoError(t, err)
		require.Equal(t, 0, <-evicted)
		synctest.Wait()
		require.Empty(t, evicted)
	})
}

// Silent streams of many strangers do not keep a member out, nor does a silent
// stream of its own.
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
		require.Len(t, results, 200-16, "those over the limits are refused at once")
		_, silent := link(1 << 10)
		w.accept(t.Context(), w.accepting(silent))
		a, b := link(1 << 16)
		i, r := w.open(t, a, b)
		require.Equal(t, 5*time.Millisecond, time.Since(begun), "no delay except that of the confirmation, which waits for data")
		i.Abort(context.Canceled)
		r.Abort(context.Canceled)
		time.Sleep(10 * time.Second)
		busy := 0
		for range 200 {
			if err := <-results; err != ErrTimeout {
				if !errors.Is(err, ErrBusy) { // lost its place to another stranger
					require.ErrorIs(t, err, ErrHandshake)
				}
				busy++
			}
		}
		require.Equal(t, 200-16, busy)
	})
}

// A stranger with several silent handshakes loses one, at once, to another
// stranger that has none, even at the same address.
func TestGreedyLosesItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := crowd(t, 5)
		for places, addr := range map[int]netip.Addr{16: {}, 8: netip.MustParseAddr("10.0.0.1")} {
			l := newLimiter(Limits{PerSecond: 1000})
			evicted := make(chan int, 100)
			enter := func(n int) (*place, error) {
				return l.enterStranger(nodes[n], addr, time.Now(), func() { evicted <- n })
			}
			var first *place
			for n := range places {
				p, err := enter(n % 4)
				require.NoError(t, err)
				if n == 0 {
					first = p
				}
			}
			first.hear()
			_, err := enter(0)
			require.ErrorIs(t, err, ErrBusy)
			_, err = enter(4)
			require.NoError(t, err)
			require.Equal(t, 1, <-evicted, "the oldest one that has not spoken")
			synctest.Wait()
			require.Empty(t, evicted)
		}
	})
}

// A stream beyond the limits is reset at once, without reading from it. A place
// is free again once its handshake has ended, whether or not it succeeded.
func TestAcceptBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.dir.strangers = true
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
		a.Write(w.m1(t)) // without a confirmation
		synctest.Wait()
		require.True(t, busy())
		(<-done).failed(t, b, ErrTimeout)
		synctest.Wait()
		require.False(t, busy())

		a, b = link(1 << 16)
		i, r := w.open(t, a, b)
		require.False(t, busy(), "an open tunnel holds no place")
		i.Abort(context.Canceled)
		r.Abort(context.Canceled)
	})
}

// If Allow never returns, the tunnel is refused in time, and the call keeps its
// place; if Allow ends its goroutine, the tunnel is refused.
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
		require.Equal(t, 10*time.Second, after, "the attempt has waited for a place")
		close(let)
		synctest.Wait()
		w.dir.allow = func(context.Context, Member) bool { panic(nil) }
		o, after, b = try()
		o.failed(t, b, ErrUnauthorized)
		require.Equal(t, 250*time.Millisecond, after)
	})
}

// Allow is told who the member is, and its context ends when its time is over.
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

// A clock that jumps, or attempts whose times are not in the order in which
// they arrive, neither lock any node out nor admit more than a second's worth.
func TestLimitsClock(t *testing.T) {
	node := crowd(t, 1)[0]
	l := newLimiter(Limits{})
	far := epoch.Add(100 * 365 * 24 * time.Hour)
	require.Equal(t, 5, enters(l, node, epoch, 20, true))
	require.Zero(t, enters(l, node, epoch.Add(-time.Hour), 20, true))
	require.Equal(t, 5, enters(l, node, epoch.Add(time.Second), 20, true))
	require.Equal(t, 5, enters(l, node, far, 20, true))
	for range 100 {
		enters(l, node, epoch, 1, true)
		enters(l, node, far, 1, true)
	}
	require.Equal(t, 5, enters(l, node, far.Add(time.Second), 20, true))
}
