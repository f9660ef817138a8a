package server

import (
	"context"
	"sync"
	"time"
)

// depth is the time for which an idle account accumulates its rate.
const depth = 100 * time.Millisecond

// A bucket bounds a rate. It may be used concurrently.
type bucket struct {
	mu    sync.Mutex
	rate  float64 // per second; 0: no bound
	most  float64 // the maximum of level
	level float64 // below 0: used in advance
	at    time.Time
}

// newBucket returns a full bucket.
func newBucket(rate, most float64) *bucket {
	return &bucket{rate: rate, most: most, level: most, at: time.Now()}
}

// fill brings the level up to date. The caller holds mu.
func (b *bucket) fill() {
	now := time.Now()
	b.level = min(b.level+b.rate*now.Sub(b.at).Seconds(), b.most)
	b.at = now
}

// set changes the rate.
func (b *bucket) set(rate, most float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	b.rate, b.most = rate, most
	b.level = min(b.level, most)
}

// allow takes one unit if there is one.
func (b *bucket) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	if b.rate > 0 && b.level < 1 {
		return false
	}
	b.level--
	return true
}

// step returns the number of bytes to take at a time, at most n.
func (b *bucket) step(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate <= 0 {
		return n
	}
	return min(n, max(int(b.most), 1<<10))
}

// wait takes n units, and waits until they have accumulated. It fails only with
// ctx.
func (b *bucket) wait(ctx context.Context, n int) error {
	b.mu.Lock()
	if b.rate <= 0 {
		b.mu.Unlock()
		return nil
	}
	b.fill()
	b.level -= float64(n)
	d := time.Duration(max(-b.level, 0) / b.rate * float64(time.Second))
	b.mu.Unlock()
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
