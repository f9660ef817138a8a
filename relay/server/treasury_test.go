package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/relay/token"
)

// A flaky ledger is unavailable at times.
type flaky struct {
	Ledger
	mu    sync.Mutex
	away  bool
	takes int
	slow  time.Duration
}

var errAway = errors.New("away")

func (f *flaky) set(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

func (f *flaky) state() (bool, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.takes++
	return f.away, f.slow
}

func (f *flaky) Take(ctx context.Context, a token.Account, want, limit int64) (Grant, error) {
	away, slow := f.state()
	time.Sleep(slow)
	if away {
		return Grant{}, errAway
	}
	return f.Ledger.Take(ctx, a, want, limit)
}

func (f *flaky) Give(ctx context.Context, g Grant, unused int64) error {
	if away, _ := f.state(); away {
		return errAway
	}
	return f.Ledger.Give(ctx, g, unused)
}

var payer = token.Account{Number: uuid.UUID{7}}

func newTreasury(t *testing.T, l Ledger, path string) *treasury {
	tr, err := openTreasury(l, path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return tr
}

func newPurse(t *testing.T, tr *treasury, limit int64) *purse {
	return &purse{treasury: tr, account: payer, ctx: t.Context(), limit: limit}
}

func bookedBy(t *testing.T, l Ledger) int64 {
	n, err := l.Used(context.Background(), payer, 0)
	require.NoError(t, err)
	return n
}

// While the ledger is unavailable, an account uses its allowance, and all of
// that is booked once the ledger is back.
func TestLedgerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &flaky{Ledger: NewMemoryLedger(Monthly), away: true}
		tr := newTreasury(t, ledger, "")
		p := newPurse(t, tr, -1)
		passed := int64(0)
		for p.spend(t.Context(), 1<<20) == nil {
			passed += 1 << 20
		}
		require.EqualValues(t, allowanceAccount, passed)
		require.Equal(t, 1, ledger.takes, "the ledger is not asked again for a while")
		takes := ledger.takes
		require.ErrorIs(t, p.spend(t.Context(), 1), errAllowance)
		require.Equal(t, takes, ledger.takes, "the ledger is not asked again at once")

		// The allowance is renewed after an hour; the relay's own is shared by
		// all accounts.
		time.Sleep(allowanceSpan)
		require.NoError(t, p.spend(t.Context(), 1<<20))
		passed += 1 << 20
		all := int64(Chunk) // bytes that p holds
		for i := range 40 {
			other := newPurse(t, tr, -1)
			other.account.Number[1] = byte(i + 1)
			for other.spend(t.Context(), 1<<20) == nil {
				all += 1 << 20
			}
		}
		require.LessOrEqual(t, all, int64(allowanceRelay))
		require.Greater(t, all, int64(allowanceRelay)-2*Chunk)

		require.NotZero(t, tr.work(t.Context()))
		ledger.set(false)
		time.Sleep(ledgerPause)
		synctest.Wait()
		require.True(t, p.giveBack(0))
		require.Zero(t, tr.work(t.Context()))
		require.Equal(t, passed, bookedBy(t, ledger))
		require.NoError(t, p.spend(t.Context(), 5))
		synctest.Wait()
		require.True(t, p.giveBack(0))
		require.Zero(t, tr.work(t.Context()))
		require.Equal(t, passed+5, bookedBy(t, ledger))
	})
}

// A relay that is killed while it holds grants settles each of them once when
// it is started again, whenever it was killed.
func TestKilledWithGrants(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	ledger := &flaky{Ledger: NewMemoryLedger(Monthly)}
	tr := newTreasury(t, ledger, path)
	p := newPurse(t, tr, -1)
	require.NoError(t, p.spend(t.Context(), 1000))
	for _, n := range p.notes() {
		tr.journal.write(n)
	}
	require.NoError(t, p.spend(t.Context(), 50)) // not recorded
	require.GreaterOrEqual(t, bookedBy(t, ledger), int64(Chunk))
	require.NoError(t, tr.close()) // as if killed: nothing is given back
	whole, err := os.ReadFile(path)
	require.NoError(t, err)

	// It is started while the ledger is unavailable, and killed again.
	ledger.set(true)
	again := newTreasury(t, ledger, path)
	require.Equal(t, 1, again.work(t.Context()))
	require.NoError(t, again.close())
	ledger.set(false)
	again = newTreasury(t, ledger, path)
	require.Zero(t, again.work(t.Context()))
	require.EqualValues(t, 1000, bookedBy(t, ledger))
	require.NoError(t, again.close())

	// It was killed after the ledger took the grant back, before that was
	// recorded.
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	again = newTreasury(t, ledger, path)
	require.Zero(t, again.work(t.Context()))
	require.EqualValues(t, 1000, bookedBy(t, ledger), "the grant was given back twice")
	require.NoError(t, again.close())

	// The journal is cut at any byte: a part of the grant is settled, and never
	// more than all of it.
	for n := range whole {
		ledger := NewMemoryLedger(Monthly)
		g, err := ledger.Take(t.Context(), payer, Chunk, -1)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		tr, err := openTreasury(ledger, path, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		for _, h := range tr.unsettled {
			h.ID = g.ID
		}
		require.Zero(t, tr.work(t.Context()))
		require.Contains(t, []int64{Chunk, 1000, 0}, bookedBy(t, ledger))
		require.NoError(t, tr.close())
	}
}

// Debts from an allowance also survive.
func TestKilledWithDebts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	ledger := &flaky{Ledger: NewMemoryLedger(Monthly), away: true}
	tr := newTreasury(t, ledger, path)
	p := newPurse(t, tr, -1)
	require.NoError(t, p.spend(t.Context(), 3000))
	for _, n := range p.notes() {
		tr.journal.write(n)
	}
	require.NoError(t, tr.close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	ledger.set(false)
	for range 2 { // the second time, it was settled but not recorded
		require.NoError(t, os.WriteFile(path, whole, 0o600))
		again := newTreasury(t, ledger, path)
		require.Zero(t, again.work(t.Context()))
		require.EqualValues(t, 3000, bookedBy(t, ledger))
		require.NoError(t, again.close())
	}
}

// The next grant is requested when half of the current one is left; if the
// ledger is slower than the circuits, they wait, and do not end.
func TestSlowLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := &flaky{Ledger: NewMemoryLedger(Monthly), slow: time.Second}
		p := newPurse(t, newTreasury(t, ledger, ""), -1)
		begin := time.Now()
		require.NoError(t, p.spend(t.Context(), 1))
		require.Equal(t, time.Second, time.Since(begin))
		require.NoError(t, p.spend(t.Context(), Chunk/2))
		require.NoError(t, p.spend(t.Context(), 1)) // it asks the ledger, and does not wait
		require.Equal(t, time.Second, time.Since(begin))
		require.NotNil(t, p.asking)
		require.NoError(t, p.spend(t.Context(), Chunk/2))
		require.Equal(t, time.Second, time.Since(begin))
		require.NoError(t, p.spend(t.Context(), 1))
		require.Equal(t, 2*time.Second, time.Since(begin))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.NoError(t, p.spend(t.Context(), Chunk))
		require.ErrorIs(t, p.spend(ctx, 1), context.DeadlineExceeded)
		synctest.Wait()
		time.Sleep(5 * time.Second)
	})
}

// After a while, the ledger is asked again about an account that had nothing
// left: a new period may have begun, or another relay may have given bytes
// back.
func TestExhaustedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := NewMemoryLedger(Hourly)
		p := newPurse(t, newTreasury(t, ledger, ""), 1000)
		var told []uint64
		p.told = func(left uint64) { told = append(told, left) }
		for range 10 {
			require.NoError(t, p.spend(t.Context(), 100))
		}
		require.ErrorIs(t, p.spend(t.Context(), 1), errQuota)
		require.Equal(t, []uint64{500, 200, 0}, told)
		require.EqualValues(t, 1000, bookedBy(t, ledger))
		p.setLimit(2000)
		require.NoError(t, p.spend(t.Context(), 1000))
		require.ErrorIs(t, p.spend(t.Context(), 1), errQuota)
		time.Sleep(time.Hour)
		require.NoError(t, p.spend(t.Context(), 1))
	})
}

// A lossy ledger does what it is asked to do, but does not answer.
type lossy struct {
	Ledger
	lost int
}

func (l *lossy) Take(ctx context.Context, a token.Account, want, limit int64) (Grant, error) {
	g, err := l.Ledger.Take(ctx, a, want, limit)
	if err == nil && l.lost > 0 {
		l.lost--
		err = errAway
	}
	return g, err
}

// A grant whose answer was lost is given back, even if the relay is killed
// meanwhile: no account pays for it.
func TestLostAnswer(t *testing.T) {
	for _, killed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			ledger := &lossy{NewMemoryLedger(Monthly), 1}
			tr := newTreasury(t, ledger, path)
			p := newPurse(t, tr, -1)
			require.NoError(t, p.spend(t.Context(), 1000), "from the allowance")
			synctest.Wait()
			require.EqualValues(t, Chunk, bookedBy(t, ledger))
			want := int64(1000)
			if killed {
				require.NoError(t, tr.close())
				tr, want = newTreasury(t, ledger, path), 0 // the thousand bytes were not recorded
			} else {
				require.True(t, p.giveBack(0))
			}
			time.Sleep(ledgerPause)
			require.Zero(t, tr.work(t.Context()))
			require.Equal(t, want, bookedBy(t, ledger))
			require.NoError(t, tr.close())
		})
	}
}

// Clients are also told of what other relays have used up.
func TestExhaustedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 2 * Chunk
		ledger := NewMemoryLedger(Monthly)
		tr := newTreasury(t, ledger, "")
		p := newPurse(t, tr, limit)
		var told []uint64
		p.told = func(left uint64) { told = append(told, left) }
		require.NoError(t, p.spend(t.Context(), 1000))
		g, err := ledger.Take(t.Context(), payer, Chunk, limit)
		require.NoError(t, err)
		require.EqualValues(t, Chunk, g.Bytes)
		require.NoError(t, p.spend(t.Context(), Chunk/2))
		require.NoError(t, p.spend(t.Context(), 1)) // it asks the ledger
		synctest.Wait()
		require.Len(t, told, 1, "clients are told once more than half is used")
		require.NoError(t, p.spend(t.Context(), Chunk))
		require.ErrorIs(t, p.spend(t.Context(), 1), errQuota)
		synctest.Wait()
		require.Len(t, told, 2)
		require.Zero(t, told[1])
		require.NoError(t, ledger.Give(t.Context(), g, Chunk))
	})
}

func TestRefund(t *testing.T) {
	ledger := NewMemoryLedger(Monthly)
	tr := newTreasury(t, ledger, "")
	p := newPurse(t, tr, -1)
	require.NoError(t, p.spend(t.Context(), 1000))
	p.refund(400)
	eventually(t, "given back", func() bool { return p.giveBack(0) })
	require.Zero(t, tr.work(t.Context()))
	require.EqualValues(t, 600, bookedBy(t, ledger))
	p.refund(100) // the grant was settled meanwhile
	require.Zero(t, tr.work(t.Context()))
	require.EqualValues(t, 500, bookedBy(t, ledger))
}

// Whatever circuits do at the same time, the books agree with the bytes
// forwarded.
func TestPurseConcurrently(t *testing.T) {
	const limit = 3*Chunk + 12345
	ledger := NewMemoryLedger(Monthly)
	tr := newTreasury(t, ledger, "")
	purses := []*purse{newPurse(t, tr, limit), newPurse(t, tr, limit)} // two relays
	var passed [2]int64
	var wg sync.WaitGroup
	for i, p := range purses {
		var mu sync.Mutex
		for range 4 {
			wg.Go(func() {
				for n := int64(1000); p.spend(t.Context(), n) == nil; n = n%30000 + 1111 {
					mu.Lock()
					passed[i] += n
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	for _, p := range purses {
		eventually(t, "given back", func() bool { return p.giveBack(0) })
	}
	require.Zero(t, tr.work(t.Context()))
	require.Equal(t, passed[0]+passed[1], bookedBy(t, ledger))
	require.LessOrEqual(t, passed[0]+passed[1], int64(limit+2*31111), "the limit is exceeded by at most a buffer each")
	require.GreaterOrEqual(t, passed[0]+passed[1], int64(limit-Chunk))
}

func TestBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 4_000_000
		b := newBucket(rate, rate*depth.Seconds())
		begin := time.Now()
		for range 1000 {
			require.Equal(t, 32<<10, b.step(32<<10))
			require.NoError(t, b.wait(t.Context(), 32<<10))
		}
		took := time.Since(begin).Seconds()
		require.InDelta(t, 1000*(32<<10)/float64(rate)-depth.Seconds(), took, 0.001)
		time.Sleep(time.Hour)
		begin = time.Now()
		require.NoError(t, b.wait(t.Context(), rate/10))
		require.Zero(t, time.Since(begin), "up to 100 ms can be saved up")
		require.NoError(t, b.wait(t.Context(), rate/10))
		require.Equal(t, 100*time.Millisecond, time.Since(begin), "no more than 100 ms can be saved up")

		b.set(5000, 500)
		require.Equal(t, 1024, b.step(32<<10), "slow accounts send in small pieces")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, b.wait(ctx, 1<<20), context.DeadlineExceeded)
		b.set(0, 0)
		require.NoError(t, b.wait(t.Context(), 1<<30))
		require.Equal(t, 1<<30, b.step(1<<30))
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(10, 10)
		for range 10 {
			require.True(t, b.allow())
		}
		require.False(t, b.allow())
		time.Sleep(100 * time.Millisecond)
		require.True(t, b.allow())
		require.False(t, b.allow())
	})
}

func TestPairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ps := pairs{all: map[pair]*pairState{}}
		var p pair
		for range pairMost {
			require.True(t, ps.begin(p))
			require.False(t, ps.begin(p))
			time.Sleep(pairPause)
		}
		require.False(t, ps.begin(p), "four are in progress")
		ps.tidy()
		require.Len(t, ps.all, 1)
		for range pairMost {
			ps.end(p)
		}
		require.True(t, ps.begin(p))
		ps.end(p)
		time.Sleep(pairPause)
		ps.tidy()
		require.Empty(t, ps.all)
	})
}
