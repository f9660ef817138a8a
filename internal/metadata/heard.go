package metadata

import (
	"sync"
	"time"
)

// A Heard limits how often a peer's metadata is reported to the node. If a peer
// changes it too often, intermediate states are left out, and the last one is
// reported later.
type Heard struct {
	Burst, PerSecond int // changes at once, and per second after that; no limit if Burst < 0 or PerSecond ≤ 0
	State            func(metadata map[string]string) error

	mu    sync.Mutex
	level float64   // updates in a leaky bucket
	at    time.Time // when it had that level
	last  map[string]string
	later *time.Timer // reports last; nil if nothing is due
	over  bool
}

// Say reports metadata, at once or a little later.
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

// catchUp reports the latest metadata.
func (h *Heard) catchUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.later = nil
	if h.over {
		return
	}
	h.level++
	_ = h.State(h.last) // if it is not valid, the next one closes the connection
}

// Stop ends the reports, after one that is due.
func (h *Heard) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if h.later != nil && h.later.Stop() {
		_ = h.State(h.last)
	}
}
