package netmon

import "time"

// A Source provides a [Monitor] with the state of the network. Its methods may
// be called concurrently.
type Source interface {
	// Read returns the present state. The monitor ranks and sorts it.
	Read() (Snapshot, error)

	// Watch starts to call changed whenever something may have changed. It must
	// not call changed before it returns, nor after Close of the Watcher has
	// returned. If the source fails later, it calls failed once.
	Watch(changed, failed func()) (Watcher, error)

	// Clocks reads the clocks.
	Clocks() Clocks
}

// A Watcher watches until it is closed.
type Watcher interface {
	// Seen tells the source which state the monitor knows, so that it can skip
	// events that are no news.
	Seen(s *Snapshot)
	// Wakes reports whether changed is called when the computer wakes.
	Wakes() bool
	// Close ends the watch, and returns when its goroutines have ended.
	Close()
}

// Clocks are readings of clocks, each with a starting point of its own.
type Clocks struct {
	Awake time.Duration // may stand still while the computer sleeps
	Wall  time.Duration // goes on during sleep, and may be set
	Boot  time.Duration // goes on during sleep; 0 if there is no such clock
}

// began is the starting point of the clocks of [readClocks].
var began = time.Now()

// readClocks reads the clocks that exist on every system.
func readClocks() Clocks {
	now := time.Now()
	return Clocks{Awake: now.Sub(began), Wall: time.Duration(now.UnixNano())}
}
