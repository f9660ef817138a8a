package netmon

import "time"

// A Source is what a [Monitor] knows the network from. Its methods may be
// called concurrently.
type Source interface {
	// Read returns the state now. The monitor ranks and sorts it.
	Read() (Snapshot, error)

	// Watch has changed called whenever something may have changed. changed
	// must not be called by Watch itself or while Close of the Watcher is
	// waited for. If the source fails later, it calls failed once.
	Watch(changed, failed func()) (Watcher, error)

	// Clocks returns what the clocks show.
	Clocks() Clocks
}

// A Watcher watches until it is closed.
type Watcher interface {
	// Seen says what the monitor knows by now, so that the source can pass over
	// news that are none.
	Seen(s *Snapshot)
	// Wakes reports whether changed is called when the computer wakes.
	Wakes() bool
	// Close ends the watch, and returns when its goroutines have ended.
	Close()
}

// Clocks are the readings of clocks, each from a beginning of its own.
type Clocks struct {
	Awake time.Duration // stands still while the computer sleeps, or goes on
	Wall  time.Duration // goes on, and may be set
	Boot  time.Duration // goes on; 0 if there is no such clock
}

// began is where the clock of [readClocks] begins.
var began = time.Now()

// readClocks reads the clocks that every system has.
func readClocks() Clocks {
	now := time.Now()
	return Clocks{Awake: now.Sub(began), Wall: time.Duration(now.UnixNano())}
}
