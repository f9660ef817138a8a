package netmon

import (
	"sync"
	"time"
)

// A Kind is a set of kinds of change.
type Kind uint8

// The kinds of change.
const (
	Address Kind = 1 << iota // interfaces or their addresses, or a link came up
	Route                    // a default route, its router, or the link-layer address of that
	Woke                     // the computer was asleep, or the process stood still
)

// Changed says what changed since the last one.
type Changed struct {
	Kind Kind
	// Slept is for how long the computer was asleep, or the process stood
	// still, with Woke: not exactly, and too long if somebody set the clock
	// forward.
	Slept time.Duration
}

const (
	debounce    = 20 * time.Millisecond  // after an event, for others to follow
	debounceMax = 250 * time.Millisecond // after the first event
	tickTime    = 10 * time.Second       // between looks at the clocks
	tickFast    = 2 * time.Second        // where nothing tells of waking, and a subscriber attends; or of the state where nothing tells
	readShare   = 20                     // part of the time that reading may take, in the long run
	readBurst   = time.Second            // of reading without a pause
)

// A Monitor watches the network. Its methods may be called concurrently.
type Monitor struct {
	source Source

	mu       sync.Mutex
	ignored  map[string]int
	subs     map[*Subscription]bool
	watching *watch // nil if there are no subscriptions
}

// New returns a monitor of a source.
func New(source Source) *Monitor {
	return &Monitor{source: source, ignored: make(map[string]int), subs: make(map[*Subscription]bool)}
}

var shared = New(newSystem())

// Shared returns the process's monitor.
func Shared() *Monitor { return shared }

// Snapshot reads the state of the network. It does not wait for events: what it
// returns may be newer than the last change that was reported.
func (m *Monitor) Snapshot() (Snapshot, error) {
	s, err := m.source.Read()
	if err != nil {
		return Snapshot{}, err
	}
	s.arrange()
	return s, nil
}

// Poke says that the network has changed or that the app is back from being
// suspended, where only the app can know. Subscribers are told so in any case.
func (m *Monitor) Poke() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watching != nil {
		m.watching.poke(&m.watching.poked)
	}
}

// Ignore has changes of an interface pass unnoticed until undo is called: one
// of a program's own, such as a tunnel that it makes.
func (m *Monitor) Ignore(name string) (undo func()) {
	add := func(n int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.ignored[name] += n; m.ignored[name] == 0 {
			delete(m.ignored, name)
		}
	}
	add(1)
	return sync.OnceFunc(func() { add(-1) })
}

// A Subscription is told of changes until it is closed.
type Subscription struct {
	// C yields changes. A slow reader gets those that it missed in one.
	C <-chan Changed

	c      chan Changed
	m      *Monitor
	attend bool
}

// Subscribe begins to report changes; what happens after it has returned is not
// missed.
func (m *Monitor) Subscribe() *Subscription {
	c := make(chan Changed, 1)
	s := &Subscription{C: c, c: c, m: m}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.subs[s] = true
	if m.watching == nil {
		m.watching = m.start()
	}
	return s
}

// Attend says whether the subscriber has something to lose: then sleep is
// noticed within 2 s of waking, and within 10 s otherwise. Where the system tells
// of it at once, as Linux does, that makes no difference.
func (s *Subscription) Attend(on bool) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.attend != on && s.m.subs[s] {
		s.attend = on
		s.m.watching.poke(&s.m.watching.hurry)
	}
}

// Close ends the subscription. The last one that is closed waits until the
// monitor's goroutines have ended. It can be called again.
func (s *Subscription) Close() {
	s.m.mu.Lock()
	delete(s.m.subs, s)
	var last *watch
	if len(s.m.subs) == 0 {
		last, s.m.watching = s.m.watching, nil
	}
	s.m.mu.Unlock()
	if last != nil {
		close(last.stop)
		<-last.done
	}
}

// tell reports a change. The subscription gets it in one with those that it has
// not taken.
func (s *Subscription) tell(c Changed) {
	select {
	case old := <-s.c:
		c.Kind |= old.Kind
		c.Slept = max(c.Slept, old.Slept)
	default:
	}
	s.c <- c // there is room: nobody else sends
}

// publish reports a change to all subscribers of a watch.
func (m *Monitor) publish(w *watch, c Changed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watching == w {
		for s := range m.subs {
			s.tell(c)
		}
	}
}

// compare returns what changed between two states.
func (m *Monitor) compare(before, after *Snapshot) Kind {
	m.mu.Lock()
	defer m.mu.Unlock()
	return after.compare(before, m.ignored)
}

// attended reports whether a subscriber attends.
func (m *Monitor) attended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.subs {
		if s.attend {
			return true
		}
	}
	return false
}
