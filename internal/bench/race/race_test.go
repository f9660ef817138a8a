package race

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/report"
)

func TestRace(t *testing.T) {
	cores := runtime.GOMAXPROCS(0)
	var calls []string
	takes := func(name string, each time.Duration) Contender {
		return Contender{Name: name, Run: func(n int) (time.Duration, error) {
			require.Equal(t, 1, runtime.GOMAXPROCS(0))
			calls = append(calls, fmt.Sprint(name, n))
			return time.Duration(n) * each, nil
		}}
	}
	r := Race{Rounds: 3, Length: 6400, Cores: 1}
	samples, err := r.Run(t.Context(), takes("a", 100), takes("b", 1000))
	require.NoError(t, err)
	require.Equal(t, []report.Sample{{100, 100, 100}, {1000, 1000, 1000}}, samples)
	require.Equal(t, "a16 a32 b16 a64 b6 a64 b6 a64 b6", strings.Join(calls, " ")) // first finds n
	require.Equal(t, cores, runtime.GOMAXPROCS(0))

	calls = nil
	prepared := takes("c", 10)
	prepared.Before = func() error { calls = append(calls, "before"); return nil }
	r.Times, r.Rounds = 2, 1
	samples, err = r.Run(t.Context(), prepared, takes("d", 20))
	require.NoError(t, err)
	require.Equal(t, []report.Sample{{10}, {20}}, samples)
	require.Equal(t, "before c2 d2 before c2 d2", strings.Join(calls, " "))

	broken := errors.New("broken")
	prepared.Before = func() error { return broken }
	_, err = r.Run(t.Context(), prepared)
	require.ErrorIs(t, err, broken)
	r.Times = 0
	_, err = r.Run(t.Context(), Repeat("that one", func() error { return broken }))
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "that one")
	require.Equal(t, cores, runtime.GOMAXPROCS(0))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Run(ctx, takes("a", 100))
	require.ErrorIs(t, err, context.Canceled)
}

func TestCPU(t *testing.T) {
	idle := Contender{Name: "idle", Run: func(int) (time.Duration, error) { return time.Second, nil }}
	busy := Repeat("busy", func() error {
		for range 1_000_000 {
			runtime.KeepAlive(t)
		}
		return nil
	})
	wall, cpu, err := Race{Rounds: 5, Length: 20 * time.Millisecond}.RunCPU(t.Context(), idle, busy)
	require.NoError(t, err)
	require.Len(t, wall, 2)
	require.Len(t, cpu, 2)
	require.Len(t, cpu[1], 5)
	if used() > 0 {
		require.Greater(t, cpu[1].Median(), cpu[0].Median())
	}
}
