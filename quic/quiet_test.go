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

// An idle connection is kept alive by a message that the peer acknowledges; a
// connection in use needs none.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	c := m.ours
	m.talk(t, 1)
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.telling && len(c.toldLast) > 0
	}, time.Minute, time.Millisecond)
	c.kept.Store(0)
	require.False(t, c.keepAlive(), "the handshake counts as use")
	heard := func() uint64 { return m.theirs.quic.ConnectionStats().PacketsReceived }
	// Packets on their way arrive first; after that, none arrives by itself.
	require.Eventually(t, func() bool {
		before := heard()
		return c.keepAlive() && assertSoon(func() bool { return heard() > before })
	}, time.Minute, time.Millisecond)
}

// assertSoon reports whether what returns true within a second.
func assertSoon(what func() bool) bool {
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if what() {
			return true
		}
	}
	return false
}
