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
	Route                    // a default route, its router, or the router's link-layer address
	Woke                     // the computer was asleep, or the process stood still
)

// A Changed says what has changed since the last Changed.
type Changed struct {
	Kind Kind
	// Slept is roughly how long the computer was asleep or the process stood
	// still, if Kind includes Woke. It is too long if the clock was set
	// forward.
	Slept time.Duration
}

const (
	debounce    = 20 * time.Millisecond  // after an event, in case others follow
	debounceMax = 250 * time.Millisecond // after the first event
	tickTime    = 10 * time.Second       // between comparisons of the clocks
	tickSeldom  = time.Minute            // the same, if the system reports waking and no subscriber attends
	tickFast    = 2 * time.Second        // the same, if the system does not and a subscriber attends; also between reads of a state without events
	readShare   = 20                     // reading may take 1/readShare of the time in the long run
	readBurst   = time.Second            // the most reading without a pause
)

// A Monitor watches the network. Its methods may be called concurrently.
type Monitor struct {
	source Source

	mu       sync.Mutex
	ignored  map[string]int
	subs     map[*Subscription]bool
	watching *watch // nil if there are no subscriptions
}

// New returns a monitor for a source.
func New(source Source) *Monitor {
	return &Monitor{source: source, ignored: make(map[string]int), subs: make(map[*Subscription]bool)}
}

var shared = New(newSystem())

// Shared returns the process's monitor.
func Shared() *Monitor { return shared }

// Snapshot reads the state of the network. It does not wait for events: the
// state may be newer than the last change that was reported.
func (m *Monitor) Snapshot() (Snapshot, error) {
	s, err := m.source.Read()
	if err != nil {
		return Snapshot{}, err
	}
	s.arrange()
	return s, nil
}

// Poke tells the monitor that the network has changed or that the app was
// suspended, on systems where only the app can know. Subscribers are told in
// any case.
func (m *Monitor) Poke() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watching != nil {
		m.watching.poke(&m.watching.poked)
	}
}

// Ignore makes the monitor ignore changes of an interface until undo is called.
// It is for a program's own interfaces, such as a tunnel.
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

// A Subscription receives changes until it is closed.
type Subscription struct {
	// C yields changes. A slow reader gets those that it missed merged into
	// one.
	C <-chan Changed

	c      chan Changed
	m      *Monitor
	attend bool
}

// Subscribe begins a subscription. No change after Subscribe has returned is
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

// Attend sets whether the subscriber needs to learn of sleep soon: within 2 s
// of waking instead of 10 s. On systems that report waking at once, such as
// Linux, it sets whether the subscriber learns that the process was stopped
// within 10 s instead of a minute.
func (s *Subscription) Attend(on bool) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.attend != on && s.m.subs[s] {
		s.attend = on
		s.m.watching.poke(&s.m.watching.hurry)
	}
}

// Close ends the subscription. If it was the last one, Close waits until the
// monitor's goroutines have ended. It may be called more than once.
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

// tell delivers a change, merged with those that have not been received yet.
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
