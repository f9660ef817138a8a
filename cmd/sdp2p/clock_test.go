package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clock returns the checks for a clock that showed these times.
func clock(began, now time.Time, elapsed time.Duration) []check {
	return (&clockFacts{began, now, elapsed, built()}).checks()
}

func TestClock(t *testing.T) {
	now := time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)
	verdicts := func(began, now time.Time, elapsed time.Duration) [2]verdict {
		checks := clock(began, now, elapsed)
		require.Len(t, checks, 2)
		for _, c := range checks {
			require.Equal(t, c.Verdict == fine, c.Advice == "")
		}
		return [2]verdict{checks[0].Verdict, checks[1].Verdict}
	}
	require.Equal(t, [2]verdict{fine, fine}, verdicts(now, now.Add(3*time.Second), 3*time.Second))
	require.Equal(t, [2]verdict{fine, fine}, verdicts(now, now.Add(3*time.Second), 3*time.Second+clockJump))
	require.Equal(t, [2]verdict{fine, warn}, verdicts(now, now.Add(3*time.Second), 4*time.Second))
	require.Equal(t, [2]verdict{fine, warn}, verdicts(now, now.Add(time.Hour), 4*time.Second))
	require.Contains(t, clock(now, now.Add(-time.Hour), time.Second)[1].Value, "-1h0m1s")

	for said, old := range map[string]time.Time{
		"1974-12-31T23:59:59Z, when no certificate is valid":             validFrom.Add(-time.Second),
		"4096-01-01T00:00:00Z, when no certificate is valid":             validUntil,
		"1975-01-01T00:00:00Z, but this program was made after 20":       validFrom,
		"2026-01-31T23:59:59Z, but this program was made after 2026-02-": time.Date(2026, 1, 31, 23, 59, 59, 0, time.UTC),
	} {
		require.Equal(t, [2]verdict{fail, fine}, verdicts(old.Add(-time.Second), old, time.Second))
		require.Contains(t, clock(old, old, 0)[0].Value, said)
	}
	require.Equal(t, fine, clock(time.Now(), time.Now(), 0)[0].Verdict)
}
