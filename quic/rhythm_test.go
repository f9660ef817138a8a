package quic

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// walk runs a rhythm for a time, and counts how often it wakes and how often it
// has connections kept alive. sent reports whether packets have passed since
// the last wake.
func walk(r *rhythm, now *time.Time, long time.Duration, sent func() bool) (wakes, beats int) {
	for end := now.Add(long); now.Before(end); wakes++ {
		if r.due(*now) {
			beats++
		}
		*now = now.Add(r.next(*now, sent()))
	}
	return wakes, beats
}

// Idle connections are looked at only when they are kept alive, all together;
// connections in use are looked at four times a second.
func TestRhythm(t *testing.T) {
	now := time.Unix(0, 0)
	r := newRhythm(now)
	idle, busy := func() bool { return false }, func() bool { return true }
	wakes, beats := walk(&r, &now, time.Hour, idle)
	require.InDelta(t, 720, beats, 1)
	require.LessOrEqual(t, wakes, beats+8, "no more, apart from the first wakes")
	require.True(t, r.resting(now))

	wakes, beats = walk(&r, &now, time.Minute, busy)
	require.InDelta(t, 12, beats, 1)
	require.InDelta(t, 240, wakes, 13)

	wakes, beats = walk(&r, &now, time.Hour, idle)
	require.InDelta(t, 720, beats, 1)
	require.LessOrEqual(t, wakes, beats+8)
}

// Nodes that start together do not keep step.
func TestRhythmsDiffer(t *testing.T) {
	now := time.Unix(0, 0)
	all := map[time.Time]bool{}
	for range 100 {
		r := newRhythm(now)
		require.True(t, r.beat.After(now))
		require.LessOrEqual(t, r.beat.Sub(now), keepAlive)
		all[r.beat] = true
	}
	require.Greater(t, len(all), 90)
}
