package redis

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

func used(t *testing.T, l *Ledger, a token.Account) int64 {
	n, err := l.Used(t.Context(), a, 0)
	require.NoError(t, err)
	return n
}

func TestLedger(t *testing.T) {
	both(t, func(t *testing.T, client redis.UniversalClient) {
		l := NewLedger(client, server.Monthly)
		require.Zero(t, used(t, l, payer))
		g, err := l.Take(t.Context(), payer, 1000, 2500)
		require.NoError(t, err)
		require.Equal(t, []int64{1000, 1000}, []int64{g.Bytes, g.Used})
		require.InDelta(t, float64(server.Monthly.Period(time.Now())), float64(g.Period), 40*86400)
		require.NoError(t, l.Give(t.Context(), g, 400))
		require.EqualValues(t, 600, used(t, l, payer))
		require.NoError(t, l.Give(t.Context(), g, 400), "giving back a second time has no effect")
		require.EqualValues(t, 600, used(t, l, payer))

		g, err = l.Take(t.Context(), payer, 5000, 2500)
		require.NoError(t, err)
		require.Equal(t, []int64{1900, 2500}, []int64{g.Bytes, g.Used})
		none, err := l.Take(t.Context(), payer, 1, 2500)
		require.NoError(t, err)
		require.Zero(t, none.Bytes)
		require.EqualValues(t, 2500, none.Used)
		require.NoError(t, l.Give(t.Context(), g, -30), "a buffer more than granted was used")
		require.EqualValues(t, 2530, used(t, l, payer))
		g, err = l.Take(t.Context(), payer, 1<<40, -1)
		require.NoError(t, err)
		require.EqualValues(t, server.Chunk, g.Bytes)
		require.NoError(t, l.Give(t.Context(), g, 1<<40), "no more is given back than was taken")
		require.EqualValues(t, 2530, used(t, l, payer))

		owed := server.NewGrant(payer, 0, 0, 0)
		require.NoError(t, l.Give(t.Context(), owed, -500))
		require.NoError(t, l.Give(t.Context(), owed, -500))
		require.EqualValues(t, 3030, used(t, l, payer))
		require.NoError(t, l.Give(t.Context(), server.NewGrant(payer, 0, 0, 0), 1<<40), "the sum does not fall below zero")
		require.Zero(t, used(t, l, payer))
		require.NoError(t, l.Give(t.Context(), server.NewGrant(payer, 50, g.Period, 0), 50), "a grant that was never taken has no effect")
		require.Zero(t, used(t, l, payer))

		g, err = l.Take(t.Context(), payer, 90, -1)
		require.NoError(t, err)
		require.NoError(t, l.Give(t.Context(), g, 0), "a grant that was used up")
		require.NoError(t, l.Give(t.Context(), server.NewGrant(payer, 0, 0, 0), 0), "nothing is owed")
		require.EqualValues(t, 90, used(t, l, payer))
		require.NoError(t, l.Give(t.Context(), server.NewGrant(payer, 0, 0, 0), 90))

		g, err = l.Take(t.Context(), payer, 100, -1)
		require.NoError(t, err)
		require.NoError(t, l.Give(t.Context(), server.NewGrant(payer, 0, 0, 0), 60), "the sum was reduced by other means")
		require.NoError(t, l.Give(t.Context(), g, 100))
		require.Zero(t, used(t, l, payer))

		other := payer
		other.Issuer = identity.New().Remote()
		held, err := l.Take(t.Context(), other, 70, -1)
		require.NoError(t, err)
		require.Zero(t, used(t, l, payer))
		all, err := l.Uses(t.Context())
		require.NoError(t, err)
		require.ElementsMatch(t, []server.Use{{Account: payer, Period: g.Period}, {Account: other, Period: g.Period, Bytes: 70, Held: 70}}, all)
		n, err := l.Used(t.Context(), other, held.Period)
		require.NoError(t, err)
		require.EqualValues(t, 70, n)
		n, err = l.Used(t.Context(), other, 1)
		require.NoError(t, err)
		require.Zero(t, n)
		require.NoError(t, l.Give(t.Context(), server.NewGrant(token.Account{}, 0, 0, 0), -5), "debts of nodes that are known by name")
		require.EqualValues(t, 5, used(t, l, token.Account{}))
	})
}

// If a script runs again because its answer was lost, it takes only once.
func TestAnswerLost(t *testing.T) {
	both(t, func(t *testing.T, client redis.UniversalClient) {
		l := NewLedger(client, server.Monthly)
		keys := []string{usedPrefix + tag(payer), grantPrefix + tag(payer) + ":00"}
		run := func() []int64 {
			got, err := take.Run(t.Context(), client, keys, string(server.Monthly), 1000, 1500, keep.Milliseconds(), expire.Milliseconds()).Int64Slice()
			require.NoError(t, err)
			return got
		}
		first := run()
		require.Equal(t, first, run())
		require.EqualValues(t, 1000, used(t, l, payer))
		require.NoError(t, l.Give(t.Context(), server.Grant{Account: payer, Bytes: 1000}, 1000))
		require.EqualValues(t, 1000, used(t, l, payer), "a grant with another ID has no effect")

		// The result is unknown: the relay gives everything back, whether or
		// not it was taken.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		g, err := l.Take(ctx, payer, 700, -1)
		require.Error(t, err)
		require.EqualValues(t, 700, g.Bytes)
		require.NoError(t, l.Give(t.Context(), g, g.Bytes))
		require.EqualValues(t, 1000, used(t, l, payer))
	})
}

// Relays that take at the same time get exactly the limit together, and the
// bytes that they give back are available to others.
func TestConcurrently(t *testing.T) {
	both(t, func(t *testing.T, client redis.UniversalClient) {
		const limit = 50_000_000
		l := NewLedger(client, server.Monthly)
		var mu sync.Mutex
		var spent, excess int64
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(i)))
				for {
					g, err := l.Take(context.Background(), payer, random.Int64N(3_000_000)+1, limit)
					if err != nil || g.Bytes == 0 {
						return
					}
					unused := random.Int64N(g.Bytes+32<<10) - 32<<10
					if l.Give(context.Background(), g, unused) != nil {
						return
					}
					mu.Lock()
					spent += g.Bytes - unused
					excess += max(-unused, 0)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.Equal(t, spent, used(t, l, payer))
		require.LessOrEqual(t, spent, limit+excess)
		g, err := l.Take(t.Context(), payer, server.Chunk, limit)
		require.NoError(t, err)
		require.Zero(t, g.Bytes)
	})
}

// The server's clock decides, and its periods equal ours.
func TestPeriods(t *testing.T) {
	m, client := mini(t)
	random := rand.New(rand.NewPCG(1, 2))
	times := []time.Time{time.Date(2028, 2, 29, 23, 59, 59, 0, time.UTC), time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 2, 28, 12, 0, 0, 0, time.UTC), time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC)}
	for range 300 {
		times = append(times, time.Unix(random.Int64N(1<<32), 0))
	}
	for _, at := range times {
		m.SetTime(at)
		for _, c := range []server.Cycle{server.Hourly, server.Daily, server.Monthly} {
			g, err := NewLedger(client, c).Take(t.Context(), payer, 1, -1)
			require.NoError(t, err)
			require.Equal(t, c.Period(at).String(), g.Period.String(), "%v %s", at, c)
		}
	}
}

// A quota starts anew with each period; each grant is booked in its own.
func TestPeriodChanges(t *testing.T) {
	m, client := mini(t)
	l := NewLedger(client, server.Hourly)
	m.SetTime(time.Unix(3600*1000, 0))
	g, err := l.Take(t.Context(), payer, 1000, 1000)
	require.NoError(t, err)
	m.SetTime(time.Unix(3600*1001, 0))
	next, err := l.Take(t.Context(), payer, 1000, 1000)
	require.NoError(t, err)
	require.EqualValues(t, 1000, next.Bytes)
	require.NoError(t, l.Give(t.Context(), g, 300))
	n, err := l.Used(t.Context(), payer, g.Period)
	require.NoError(t, err)
	require.EqualValues(t, 700, n)
	require.EqualValues(t, 1000, used(t, l, payer))
	m.FastForward(expire + time.Second)
	require.NoError(t, l.Give(t.Context(), next, 300))
	require.EqualValues(t, 1000, used(t, l, payer), "given back too late, it stays booked")
	m.FastForward(keep)
	require.Empty(t, m.Keys())
}

func TestAway(t *testing.T) {
	m, client := mini(t)
	l := NewLedger(client, server.Monthly)
	g, err := l.Take(t.Context(), payer, 1000, -1)
	require.NoError(t, err)
	m.SetError("LOADING away")
	_, err = l.Take(t.Context(), payer, 1000, -1)
	require.ErrorContains(t, err, "away")
	require.Error(t, l.Give(t.Context(), g, 500))
	_, err = l.Used(t.Context(), payer, 0)
	require.Error(t, err)
	_, err = l.Uses(t.Context())
	require.Error(t, err)
	_, err = NewDirectory(client).List(t.Context(), "")
	require.Error(t, err)
	_, err = NewRevoked(t.Context(), client, slog.New(slog.DiscardHandler))
	require.Error(t, err)
	m.SetError("")
	require.NoError(t, l.Give(t.Context(), g, 500))
	require.EqualValues(t, 500, used(t, l, payer))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.Take(ctx, payer, 1, -1)
	require.True(t, errors.Is(err, context.Canceled))
}
