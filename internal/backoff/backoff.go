// Package backoff tells how long to wait between attempts at what keeps
// failing.
package backoff

import "time"

// A Backoff is the sequence of waits Min, 2·Min, 4·Min … Max, Max … It has no
// jitter: each of its users repeats an attempt of its own, and many that begin
// at the same time do not all aim at one place.
type Backoff struct {
	Min, Max time.Duration // 0 < Min ≤ Max
	last     time.Duration // what Next returned; 0 at the start
}

// Next returns the wait after one more failure.
func (b *Backoff) Next() time.Duration {
	b.last = min(max(2*b.last, b.Min), b.Max)
	return b.last
}

// Reset returns to the start: the next wait is Min.
func (b *Backoff) Reset() { b.last = 0 }
