package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestQuotaModel compares accounts at two relays with a model: circuits spend
// and refund, hours pass, grants are given back, and relays are killed. In each
// period, the booked bytes stay within the limit and a buffer for each grant
// that was exceeded; over all periods, they equal the bytes spent.
func TestQuotaModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		const limit, buffer = 20 << 20, 32 << 10
		var clock atomic.Int64
		clock.Store(1_800_000_000)
		now := func() time.Time { return time.Unix(clock.Load(), 0) }
		ledger := NewMemoryLedger(Hourly)
		ledger.now = now
		dir, err := os.MkdirTemp("", "quota")
		require.NoError(r, err)
		defer os.RemoveAll(dir)
		paths := []string{filepath.Join(dir, "0"), filepath.Join(dir, "1")}
		relays, purses := make([]*treasury, 2), make([]*purse, 2)
		open := func(i int) {
			tr, err := openTreasury(ledger, paths[i], slog.New(slog.DiscardHandler))
			require.NoError(r, err)
			tr.now = now
			relays[i], purses[i] = tr, &purse{treasury: tr, account: payer, ctx: t.Context(), limit: limit}
		}
		open(0)
		open(1)
		spent, kills := int64(0), int64(0)
		one := func(r *rapid.T) int { return rapid.IntRange(0, 1).Draw(r, "relay") }
		r.Repeat(map[string]func(*rapid.T){
			"spend": func(r *rapid.T) {
				p := purses[one(r)]
				n := rapid.Int64Range(1, buffer).Draw(r, "bytes")
				for range rapid.IntRange(1, 2000).Draw(r, "buffers") {
					if p.spend(t.Context(), n) != nil {
						break
					}
					spent += n
				}
			},
			"time": func(r *rapid.T) { clock.Add(rapid.Int64Range(1, 3000).Draw(r, "seconds")) },
			"idle": func(r *rapid.T) {
				i := one(r)
				purses[i].answered()
				require.True(r, purses[i].giveBack(0))
				relays[i].work(t.Context())
			},
			"kill": func(r *rapid.T) {
				i := one(r)
				purses[i].answered()
				for _, n := range purses[i].notes() {
					relays[i].journal.write(n)
				}
				require.NoError(r, relays[i].close())
				kills++
				open(i)
			},
		})
		for i, p := range purses {
			p.answered()
			require.True(r, p.giveBack(0))
			require.Zero(r, relays[i].work(t.Context()))
			require.NoError(r, relays[i].close())
		}
		sum := int64(0)
		for _, u := range ledger.Uses() {
			require.Zero(r, u.Held)
			require.LessOrEqual(r, u.Bytes, int64(limit+len(purses)*buffer)+kills*buffer, u.Period)
			sum += u.Bytes
		}
		require.Equal(r, spent, sum)
	})
}

// answered waits until the ledger has answered.
func (p *purse) answered() {
	p.mu.Lock()
	asking := p.asking
	p.mu.Unlock()
	if asking != nil {
		<-asking
	}
	p.mu.Lock() // so that the answer has been applied
	defer p.mu.Unlock()
}
