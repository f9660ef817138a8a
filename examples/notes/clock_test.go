package main

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A hand is a wall clock that only tests move.
type hand struct{ time.Time }

func (h *hand) now() time.Time       { return h.Time }
func (h *hand) move(d time.Duration) { h.Time = h.Add(d) }
func newHand(off time.Duration) *hand {
	return &hand{time.Date(2026, 3, 29, 1, 59, 0, 0, time.UTC).Add(off)}
}

func TestTick(t *testing.T) {
	h := newHand(0)
	c := NewClock(h.now)
	first := c.Tick()
	require.Equal(t, At(h.now()), first)
	require.Equal(t, h.UnixMilli(), first.Time().UnixMilli())
	require.Equal(t, first+1, c.Tick(), "within one millisecond")
	for range 1 << 17 {
		c.Tick()
	}
	require.Equal(t, first+2+1<<17, c.Tick(), "more than one millisecond holds")
	h.move(-time.Second)
	require.Greater(t, c.Tick(), first+2+1<<17, "the clock was set back")
	h.move(time.Minute)
	require.Equal(t, At(h.now()), c.Tick())
	require.Equal(t, Stamp(math.MaxUint64), Stamp(math.MaxUint64).Next())
}

func TestAt(t *testing.T) {
	require.Zero(t, At(time.Unix(-1, 0)))
	require.Equal(t, At(time.UnixMilli(1<<48-1)), At(time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)))
	require.Equal(t, Stamp(5<<16|7), Stamp(3<<16|7).Shift(2))
	require.Equal(t, Stamp(7), Stamp(3<<16|7).Shift(-4))
	require.Equal(t, At(time.UnixMilli(1<<48-1))|7, Stamp(3<<16|7).Shift(1<<48))
	require.Equal(t, Stamp(7), Stamp(3<<16|7).Shift(math.MinInt64))
	require.Equal(t, At(time.UnixMilli(1<<48-1))|7, Stamp(3<<16|7).Shift(math.MaxInt64))
}

// A stamp moves the clock of its receiver by a minute at most.
func TestObserve(t *testing.T) {
	h := newHand(0)
	c := NewClock(h.now)
	c.Observe(At(h.Add(Drift)))
	require.Equal(t, At(h.Add(Drift))+1, c.Tick())
	c.Observe(At(h.Add(Drift + time.Millisecond)))
	require.Equal(t, At(h.Add(Drift))+2, c.Tick())
	c.Observe(math.MaxUint64)
	require.Equal(t, At(h.Add(Drift))+3, c.Tick())
	h.move(-time.Hour) // the clock was ahead, and is set right
	require.Equal(t, At(h.now()), c.Tick())
}

func TestHear(t *testing.T) {
	const m = time.Minute
	for name, test := range map[string]struct {
		sure   bool
		others []time.Duration
		want   time.Duration
	}{
		"nobody":                              {false, nil, 0},
		"one, within a minute":                {false, []time.Duration{-m}, 0},
		"one that is behind":                  {false, []time.Duration{-10 * m}, -10 * m},
		"one that is ahead":                   {false, []time.Duration{10 * m}, 0},
		"one that is behind, and we are sure": {true, []time.Duration{-10 * m}, 0},
		"two that agree with us":              {false, []time.Duration{0, -10 * m}, 0},
		"two that agree, behind":              {true, []time.Duration{-10 * m, -10 * m}, -10 * m},
		"two that agree, ahead":               {false, []time.Duration{10 * m, 10 * m}, 10 * m},
		"most of four":                        {false, []time.Duration{10 * m, 10 * m, 10 * m, -60 * m}, 10 * m},
		"one that is nearly a day behind":     {false, []time.Duration{-MaxAlone + time.Millisecond}, -MaxAlone + time.Millisecond},
		"one that is a day behind":            {false, []time.Duration{-MaxAlone}, 0},
		"one that is at the end of time":      {false, []time.Duration{math.MinInt64, math.MaxInt64, -10 * m, -10 * m, -10 * m}, -10 * m},
		"two that are at the end of time":     {false, []time.Duration{math.MinInt64, math.MinInt64}, -maxAhead},
		"one that has no idea, of three":      {false, []time.Duration{-1e6 * time.Hour, 0}, 0},
	} {
		h := newHand(0)
		c := NewClock(h.now)
		c.sure = test.sure
		for i, d := range test.others {
			change, sure, _ := c.Hear(Author{byte(i)}, d)
			c.Correct(change, sure)
		}
		require.Equal(t, test.want, c.correction, name)
		require.Equal(t, test.sure || len(test.others) > 1, c.sure, name)
		if len(test.others) > 0 {
			change, _, news := c.Hear(Author{}, -5*m)
			require.Zero(t, change, "%s: again, too soon", name)
			require.False(t, news, name)
			h.move(HearEvery)
			change, _, news = c.Hear(Author{}, test.others[0])
			require.Zero(t, change, "%s: again", name)
			require.False(t, news, name)
		}
		for i := range test.others {
			c.Forget(Author{byte(i)})
		}
		c.correction, c.sure = -10*m, true // the user has set the clock right
		change, _, news := c.Hear(Author{}, 0)
		require.Equal(t, 10*m, change)
		require.True(t, news)
	}
}
