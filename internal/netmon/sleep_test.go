package netmon

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestClocks lists what the clocks mean at a look that was due after 10 s.
func TestClocks(t *testing.T) {
	for _, test := range []struct {
		name              string
		awake, wall, boot time.Duration
		want              time.Duration
	}{
		{"on time", 10 * time.Second, 10 * time.Second, 10 * time.Second, 0},
		{"early, after an event", time.Second, time.Second, time.Second, 0},
		{"asleep", 10 * time.Second, time.Hour + 10*time.Second, time.Hour + 10*time.Second, time.Hour},
		{"asleep, where no clock counts that", 10 * time.Second, time.Hour + 10*time.Second, 0, time.Hour},
		{"asleep, and the clock was set back", 10 * time.Second, 0, 70 * time.Second, time.Minute},
		{"a short sleep", 10 * time.Second, 13 * time.Second, 13 * time.Second, 0},
		{"a longer one", 10 * time.Second, 13*time.Second + 1, 13*time.Second + 1, 3*time.Second + 1},
		{"set forward", 10 * time.Second, 24 * time.Hour, 10 * time.Second, 24*time.Hour - 10*time.Second},
		{"set back", 10 * time.Second, -24 * time.Hour, 10 * time.Second, 0},
		{"slewed", 10 * time.Second, 11 * time.Second, 10 * time.Second, 0},
		{"late", 16 * time.Second, 16 * time.Second, 16 * time.Second, 0},
		{"too late", 17 * time.Second, 17 * time.Second, 17 * time.Second, 7 * time.Second},
		{"stopped, then asleep", 70 * time.Second, 130 * time.Second, 130 * time.Second, 2 * time.Minute},
	} {
		begin := Clocks{Awake: 5 * time.Second, Wall: 1e18, Boot: 7 * time.Second}
		w := sleepWatch{last: begin}
		w.expect(10 * time.Second)
		now := Clocks{begin.Awake + test.awake, begin.Wall + test.wall, begin.Boot + test.boot}
		if test.boot == 0 {
			w.last.Boot, now.Boot = 0, 0
		}
		require.Equal(t, test.want, w.look(now), test.name)
		w.expect(10 * time.Second)
		require.Zero(t, w.look(now), "%s, when looked at again", test.name)
	}
}

// Sleep is detected at the next event or tick, and reported once.
func TestWake(t *testing.T) {
	sleep := func(f *fake, d time.Duration) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.wall += d
		f.boot += d
	}
	run(t, func(t *testing.T, f *fake, m *Monitor, s *Subscription) {
		pass(time.Hour + time.Second)
		require.Zero(t, taken(s))
		require.Equal(t, 1, f.count())

		sleep(f, time.Hour)
		f.changed() // like the timer of Linux
		pass(0)
		require.Equal(t, Changed{Woke, time.Hour}, taken(s), "reported at once")
		require.Equal(t, 2, f.count(), "the state must be read again")
		pass(time.Hour)
		require.Zero(t, taken(s))

		sleep(f, time.Minute)
		pass(tickTime)
		require.Equal(t, Changed{Woke, time.Minute}, taken(s))

		s.Attend(true)
		s.Attend(true)
		pass(time.Second)
		sleep(f, time.Minute)
		pass(tickFast)
		require.Equal(t, Changed{Woke, time.Minute}, taken(s))
		s.Attend(false)
		pass(tickFast + time.Second)
		sleep(f, time.Minute)
		pass(tickFast)
		require.Zero(t, taken(s))
		pass(tickTime)
		require.Equal(t, Changed{Woke, time.Minute}, taken(s))

		// The clock is set.
		sleep(f, -24*time.Hour)
		pass(time.Minute)
		require.Zero(t, taken(s))
	})
}

// The clocks are looked at more often for a subscriber that asks for it, unless
// the system reports when the computer wakes.
func TestLooksAtClocks(t *testing.T) {
	for _, wakes := range []bool{false, true} {
		run(t, func(t *testing.T, f *fake, m *Monitor, s *Subscription) {
			hour := func() int {
				f.mu.Lock()
				before := f.looks
				f.mu.Unlock()
				pass(time.Hour)
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.looks - before
			}
			f.mu.Lock()
			f.wakes = wakes
			f.mu.Unlock()
			require.InDelta(t, map[bool]int{false: 360, true: 60}[wakes], hour(), 2)
			s.Attend(true)
			require.InDelta(t, map[bool]int{false: 1800, true: 360}[wakes], hour(), 2)
			s.Attend(false)
			require.InDelta(t, map[bool]int{false: 360, true: 60}[wakes], hour(), 2)
		})
	}
}

// A stopped process learns of its stop from the tick that comes too late, once;
// and changes made meanwhile are in the same report.
func TestStopped(t *testing.T) {
	run(t, func(t *testing.T, f *fake, m *Monitor, s *Subscription) {
		pass(time.Second)
		f.mu.Lock()
		f.awake, f.wall, f.boot = time.Minute, time.Minute, time.Minute
		f.state = Snapshot{Interfaces: []Interface{wired(1, "10.0.0.2/24")}}
		f.mu.Unlock()
		pass(tickTime)
		c := taken(s)
		require.Equal(t, Address|Woke, c.Kind)
		require.InDelta(t, time.Minute, c.Slept, float64(tickTime))
		f.changed()
		pass(time.Hour)
		require.Zero(t, taken(s))
		f.mu.Lock()
		f.awake, f.wall, f.boot = time.Hour, time.Hour, time.Hour
		f.mu.Unlock()
		pass(tickTime)
		require.Equal(t, Woke, taken(s).Kind, "and also the next time")
	})
}
