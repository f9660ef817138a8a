// Package backoff computes the waits between repeated attempts.
package backoff

import "time"

// A Backoff is the sequence of waits Min, 2·Min, 4·Min … Max, Max … It has no
// jitter: its users repeat attempts of their own, so that many that begin at
// once do not all hit the same target.
type Backoff struct {
	Min, Max time.Duration // 0 < Min ≤ Max
	last     time.Duration // result of the last Next; 0 at the start
}

// Next returns the wait after another failure.
func (b *Backoff) Next() time.Duration {
	b.last = min(max(2*b.last, b.Min), b.Max)
	return b.last
}

// Reset returns to the start: the next wait is Min.
func (b *Backoff) Reset() { b.last = 0 }
