package netmon

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A change is reported 20 ms after its first event, together with all that
// follow until then; a longer series of events after 250 ms.
func TestDebounce(t *testing.T) {
	run(t, func(t *testing.T, f *fake, m *Monitor, s *Subscription) {
		f.set(Snapshot{Interfaces: []Interface{wired(1, "10.0.0.2/24")}})
		pass(20*time.Millisecond - 1)
		require.Zero(t, taken(s))
		pass(1)
		require.Equal(t, Changed{Kind: Address}, taken(s))
		require.Equal(t, 2, f.count(), "one read at the start, one after the event")

		pass(time.Minute)
		require.Zero(t, taken(s))
		require.Equal(t, 2, f.count(), "nothing may be read without an event")

		// This is a storm of events.
		start := time.Now()
		for n := 0; time.Since(start) < 250*time.Millisecond; n++ {
			require.Zero(t, taken(s))
			i := wired(1, "10.0.0.2/24")
			i.Ups = uint64(n)
			f.set(Snapshot{Interfaces: []Interface{i}})
			pass(10 * time.Millisecond)
		}
		require.Equal(t, Changed{Kind: Address}, taken(s))
		require.Equal(t, 3, f.count())
		pass(20 * time.Millisecond)
		require.Equal(t, 3, f.count(), "the last read covers the last event")
	})
}

// Events that change nothing are not reported.
func TestUnchanged(t *testing.T) {
	run(t, func(t *testing.T, f *fake, m *Monitor, s *Subscription) {
		for range 10 {
			f.changed()
			pass(time.Second)
		}
		require.Equal(t, 11, f.count())
		require.Zero(t, taken(s))

		undo := m.Ignore("eth2")
		f.set(Snapshot{Interfaces: []Interface{wired(1, "10.0.0.1/24"), wired(2, "10.9.0.1/24")}})
		pass(time.Second)
		require.Zero(t, taken(s))
		undo()
		undo()
		f.set(Snapshot{Interfaces: []Interface{wired(1, "10.0.0.1/24"), wired(2, "10.9.0.2/24")}})
		pass(time.Second)
		require.Equal(t, Changed{Kind: Address}, taken(s))
	})
}

// However many events there are, and however slow reading is, it takes only a
// small share of the time.
func TestCostOfStorms(t *testing.T) {
	run(t, func(t *testing.T, f *fake, m *Monitor, s *Subscription) {
		f.mu.Lock()
		f.takes = 50 * time.Millisecond
		f.mu.Unlock()
		minute := func() int {
			before, start := f.count(), time.Now()
			for time.Since(start) < time.Minute {
				f.changed()
				pass(10 * time.Millisecond)
			}
			return f.count() - before
		}
		require.InDelta(t, (60/20.+1)/0.05, minute(), 5, "with a second more at first")
		require.InDelta(t, 60/20./0.05, minute(), 5)
		f.mu.Lock()
		f.takes = 500 * time.Millisecond
		f.mu.Unlock()
		require.InDelta(t, 60/(0.5+2), minute(), 3, "reads must not be put off any longer")
	})
}

// A slow reader gets all changes in one report.
func TestSlowReader(t *testing.T) {
	run(t, func(t *testing.T, f *fake, m *Monitor, s *Subscription) {
		quick := m.Subscribe()
		defer quick.Close()
		f.set(Snapshot{Interfaces: []Interface{wired(1, "10.0.0.2/24")}})
		pass(time.Second)
		require.Equal(t, Changed{Kind: Address}, taken(quick))
		f.set(Snapshot{Interfaces: []Interface{wired(1, "10.0.0.2/24")}, Default: [families]DefaultRoute{{Index: 1}}})
		pass(time.Second)
		require.Equal(t, Changed{Kind: Route}, taken(quick))
		f.mu.Lock()
		f.wall += time.Hour
		f.mu.Unlock()
		pass(tickTime)
		require.Equal(t, Changed{Woke, time.Hour}, taken(quick))
		require.Equal(t, Changed{Address | Route | Woke, time.Hour}, taken(s))
	})
}

// The monitor runs while there is a subscription.
func TestReferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(wired(1, "10.0.0.1/24"))
		m := New(f)
		require.Zero(t, f.count())
		for range 3 {
			one, two := m.Subscribe(), m.Subscribe()
			require.Equal(t, 1, f.watchers)
			one.Close()
			one.Close()
			one.Attend(true) // this comes too late
			require.Equal(t, 1, f.watchers)
			f.set(Snapshot{Interfaces: []Interface{wired(1, "10.0.0.2/24")}})
			pass(time.Second)
			require.Zero(t, taken(one))
			require.NotZero(t, taken(two))
			two.Close()
			require.Zero(t, f.watchers)
			f.state = Snapshot{Interfaces: []Interface{wired(1, "10.0.0.1/24")}}
			m.Poke() // without a subscription
		}
		// The bubble fails if a goroutine is left.
	})
}

// A system that does not report changes is read every 2 s, and so is one that
// fails.
func TestPoll(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(wired(1, "10.0.0.1/24"))
			f.deaf = !late
			m := New(f)
			s := m.Subscribe()
			defer s.Close()
			if late {
				pass(time.Second)
				f.failed()
				synctest.Wait()
			}
			before := f.count()
			pass(time.Minute)
			require.Equal(t, 30, f.count()-before)
			require.Zero(t, taken(s))
			f.mu.Lock()
			f.state.Interfaces[0] = wired(1, "10.0.0.2/24")
			f.mu.Unlock()
			pass(tickFast)
			require.Equal(t, Changed{Kind: Address}, taken(s))
		})
	}
}

// A failing read is no change. The first read that succeeds is one.
func TestUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(wired(1, "10.0.0.1/24"))
		f.err = errors.New("not now")
		m := New(f)
		s := m.Subscribe()
		defer s.Close()
		_, err := m.Snapshot()
		require.ErrorIs(t, err, f.err)
		f.changed()
		pass(time.Second)
		require.Zero(t, taken(s))
		f.mu.Lock()
		f.err = nil
		f.mu.Unlock()
		f.changed()
		pass(time.Second)
		require.Equal(t, Changed{Kind: Address | Route}, taken(s))
		f.mu.Lock()
		f.err = errors.New("not now")
		f.mu.Unlock()
		f.changed()
		pass(time.Second)
		require.Zero(t, taken(s))

		// The app may know of a change.
		m.Poke()
		synctest.Wait()
		require.Equal(t, Changed{Kind: Address | Route}, taken(s))
	})
}
