package metadata

import (
	"sync"
	"time"
)

// A Heard is what a peer says of itself. Who says something else all the time
// is told to the node less often; the last word counts.
type Heard struct {
	Burst, PerSecond int // changes at once, and a second after that; negative or 0: no limit
	State            func(metadata map[string]string) error

	mu    sync.Mutex
	level float64   // updates: a bucket that runs dry
	at    time.Time // when it had that level
	last  map[string]string
	later *time.Timer // says last; nil if that is not due
	over  bool
}

// Say states metadata, at once or a little later.
func (h *Heard) Say(metadata map[string]string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.level = max(0, h.level-now.Sub(h.at).Seconds()*float64(h.PerSecond))
	h.at = now
	h.last = metadata
	switch {
	case h.later != nil:
		return nil
	case h.PerSecond > 0 && h.Burst >= 0 && h.level+1 > float64(h.Burst):
		wait := time.Duration((h.level + 1 - float64(h.Burst)) / float64(h.PerSecond) * float64(time.Second))
		h.later = time.AfterFunc(wait, h.catchUp)
		return nil
	}
	h.level++
	return h.State(metadata)
}

// catchUp says what was said last.
func (h *Heard) catchUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.later = nil
	if h.over {
		return
	}
	h.level++
	_ = h.State(h.last) // it is valid, or the next one closes the connection
}

// Stop says nothing more, but for what is due.
func (h *Heard) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if h.later != nil && h.later.Stop() {
		_ = h.State(h.last)
	}
}
