package netmon

import (
	"sync/atomic"
	"time"
)

// A watch is the run of a monitor, from its first subscription to the end of
// its last.
type watch struct {
	m      *Monitor
	stop   chan struct{}
	done   chan struct{}
	wake   chan struct{} // one of the following flags was set
	event  atomic.Bool   // of the source
	failed atomic.Bool   // the source
	poked  atomic.Bool   // by the app
	hurry  atomic.Bool   // Attend was called

	// The rest belongs to the goroutine.
	watcher Watcher // nil if the source cannot watch
	seen    Snapshot
	known   bool // seen is valid
	sleep   sleepWatch
	tick    *time.Timer
	settle  *time.Timer // set while events wait to be looked at
	first   time.Time   // of these events; zero if there are none
	rest    time.Time   // no reads before this time
	budget  time.Duration
	counted time.Time // when budget was brought up to date
}

// start starts a watch. It opens the source and reads the state before it
// returns. The caller holds the monitor's lock.
func (m *Monitor) start() *watch {
	w := &watch{m: m, stop: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1)}
	watcher, err := m.source.Watch(func() { w.poke(&w.event) }, func() { w.poke(&w.failed) })
	if err == nil {
		w.watcher = watcher
	}
	w.sleep.last = m.source.Clocks()
	if s, err := m.Snapshot(); err == nil {
		w.take(s)
	}
	w.settle = time.NewTimer(time.Hour)
	w.settle.Stop()
	w.tick = time.NewTimer(time.Hour)
	go w.run()
	return w
}

// poke sets a flag and wakes the goroutine. It does not block.
func (w *watch) poke(what *atomic.Bool) {
	what.Store(true)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watch) run() {
	defer close(w.done)
	defer func() {
		if w.watcher != nil {
			w.watcher.Close()
		}
		w.tick.Stop()
		w.settle.Stop()
	}()
	w.schedule()
	for {
		select {
		case <-w.stop:
			return
		case <-w.wake:
			w.woken()
		case <-w.tick.C:
			if !w.asleep() {
				w.schedule()
				if w.polls() {
					w.look(0, 0)
				}
			}
		case <-w.settle.C:
			w.first = time.Time{}
			if !w.asleep() {
				w.look(0, 0)
			}
		}
	}
}

// polls reports whether the state has to be polled.
func (w *watch) polls() bool { return w.watcher == nil || w.failed.Load() }

// schedule sets the next tick.
func (w *watch) schedule() {
	d := tickTime
	switch attended := w.m.attended(); {
	case w.polls() || attended && !w.watcher.Wakes():
		d = tickFast
	case !attended && w.watcher.Wakes(): // only a stopped process is noticed late
		d = tickSeldom
	}
	w.sleep.expect(d)
	w.tick.Reset(d)
}

// woken handles the flags that poke has set.
func (w *watch) woken() {
	slept := w.asleep()
	if w.poked.Swap(false) {
		w.look(Address|Route, 0)
	}
	if w.hurry.Swap(false) || w.failed.Load() {
		w.schedule()
	}
	if !w.event.Swap(false) || slept {
		return
	}
	now := time.Now()
	if w.first.IsZero() {
		w.first = now
	}
	at := now.Add(debounce)
	if last := w.first.Add(debounceMax); at.After(last) {
		at = last
	}
	if at.Before(w.rest) {
		at = w.rest
	}
	w.settle.Reset(at.Sub(now))
}

// asleep compares the clocks, and reports whether the computer slept. If so, it
// has also read the state and set the next tick.
func (w *watch) asleep() bool {
	slept := w.sleep.look(w.m.source.Clocks())
	if slept <= 0 {
		return false
	}
	w.look(Woke, slept)
	w.schedule()
	return true
}

// look reads the state and reports its changes, together with those that the
// caller passes.
func (w *watch) look(k Kind, slept time.Duration) {
	began := time.Now()
	now, err := w.m.Snapshot()
	w.spend(began, time.Now())
	if err == nil {
		before, known := w.seen, w.known
		w.take(now)
		if known {
			k |= w.m.compare(&before, &w.seen)
		} else {
			k |= Address | Route
		}
	}
	if k != 0 {
		w.m.publish(w, Changed{k, slept})
	}
}

// spend accounts for the time that reading took, of which a twentieth of all
// time may be spent.
func (w *watch) spend(began, ended time.Time) {
	w.budget = min(w.budget+ended.Sub(w.counted)/readShare, readBurst) - ended.Sub(began)
	w.counted = ended
	if w.budget < 0 {
		w.rest = ended.Add(min(-w.budget*readShare, tickFast))
	}
}

// take makes s the state that later ones are compared with.
func (w *watch) take(s Snapshot) {
	s.remember(&w.seen)
	w.seen, w.known = s, true
	if w.watcher != nil {
		w.watcher.Seen(&w.seen)
	}
}
