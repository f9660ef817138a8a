package dnssd

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// A timer calls fn from the engine's goroutine when it is due. The zero timer
// with fn set is ready for [timerQueue.set].
type timer struct {
	fn  func()
	at  time.Time
	seq uint64 // timers due at the same moment run in the order they were set
	pos int    // 1 + index in the queue; 0: not queued
}

// pending reports whether the timer is set.
func (t *timer) pending() bool { return t.pos != 0 }

// A timerQueue holds the engine's timers. It belongs to the engine's goroutine.
type timerQueue struct {
	heap timerHeap
	seq  uint64
}

// set makes t run at a time, replacing the time that was set before.
func (q *timerQueue) set(t *timer, at time.Time) {
	q.seq++
	t.at, t.seq = at, q.seq
	if t.pending() {
		heap.Fix(&q.heap, t.pos-1)
		return
	}
	heap.Push(&q.heap, t)
}

// soonest is like set, but never postpones.
func (q *timerQueue) soonest(t *timer, at time.Time) {
	if !t.pending() || at.Before(t.at) {
		q.set(t, at)
	}
}

// stop unsets t.
func (q *timerQueue) stop(t *timer) {
	if t.pending() {
		heap.Remove(&q.heap, t.pos-1)
	}
}

// run calls the timers that are due at now.
func (q *timerQueue) run(now time.Time) {
	for len(q.heap) > 0 && !q.heap[0].at.After(now) {
		heap.Pop(&q.heap).(*timer).fn()
	}
}

// next returns when the next timer is due.
func (q *timerQueue) next() (time.Time, bool) {
	if len(q.heap) == 0 {
		return time.Time{}, false
	}
	return q.heap[0].at, true
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	*h = append(*h, t)
	t.pos = len(*h)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.pos = 0
	return t
}

// between returns a random duration, uniform in [low, high).
func between(low, high time.Duration) time.Duration {
	return low + rand.N(high-low)
}
