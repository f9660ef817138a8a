package netmon

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A fake is a source that a test controls.
type fake struct {
	mu       sync.Mutex
	state    Snapshot
	err      error
	reads    int
	takes    time.Duration // the time that a read takes
	changed  func()
	failed   func()
	watchers int
	deaf     bool // cannot be watched
	wakes    bool // reports when the computer wakes
	looks    int  // number of looks at the clocks
	start    time.Time
	awake    time.Duration // difference between the clocks and the bubble's
	wall     time.Duration
	boot     time.Duration
}

func newFake(interfaces ...Interface) *fake {
	return &fake{state: Snapshot{Interfaces: interfaces}, start: time.Now()}
}

func (f *fake) Read() (Snapshot, error) {
	f.mu.Lock()
	f.reads++
	takes := f.takes
	s, err := f.state, f.err
	s.Interfaces = slices.Clone(s.Interfaces)
	f.mu.Unlock()
	time.Sleep(takes)
	return s, err
}

func (f *fake) Watch(changed, failed func()) (Watcher, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deaf {
		return nil, errors.New("deaf")
	}
	f.watchers++
	f.changed, f.failed = changed, failed
	return f, nil
}

func (f *fake) Seen(*Snapshot) {}

func (f *fake) Wakes() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wakes
}

func (f *fake) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers--
}

func (f *fake) Clocks() Clocks {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	now := time.Since(f.start)
	return Clocks{Awake: now + f.awake, Wall: now + f.wall, Boot: now + f.boot}
}

// set sets the state, and reports the change.
func (f *fake) set(s Snapshot) {
	f.mu.Lock()
	f.state = s
	f.mu.Unlock()
	f.changed()
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

// pass lets time pass, and everything that happens in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// taken returns what a subscription reports, if anything.
func taken(s *Subscription) Changed {
	select {
	case c := <-s.C:
		return c
	default:
		return Changed{}
	}
}

// wired returns an interface that is up.
func wired(index int, prefixes ...string) Interface {
	i := Interface{
		Index: index, Name: "eth" + string(rune('0'+index)), Physical: true,
		Flags: net.FlagUp | net.FlagRunning | net.FlagMulticast | net.FlagBroadcast,
	}
	for _, p := range prefixes {
		i.Prefixes = append(i.Prefixes, netip.MustParsePrefix(p))
	}
	return i
}

// run runs a monitor of a fake in a bubble, with one subscription.
func run(t *testing.T, f func(t *testing.T, f *fake, m *Monitor, s *Subscription)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		source := newFake(wired(1, "10.0.0.1/24"))
		m := New(source)
		s := m.Subscribe()
		defer s.Close()
		f(t, source, m, s)
	})
}
