// Package turn provides the synchronization of streams that any goroutine may
// read, write and close: a [Turn] for the calls of each direction, and an
// [End], which makes all calls return.
package turn

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Turn is a mutex that is held while its holder waits for the peer. Waiting
// for a [sync.Mutex] would keep the clock of a testing/synctest bubble from
// advancing, and with it the deadline that ends the wait.
type Turn chan struct{}

// New returns a turn that nobody has taken.
func New() Turn { return make(Turn, 1) }

// Take waits for the turn and takes it.
func (t Turn) Take() { t <- struct{}{} }

// TakeNow takes the turn if it is free, and reports whether it has.
func (t Turn) TakeNow() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// Release gives the turn back.
func (t Turn) Release() { <-t }

// Past is a deadline that makes pending calls return.
var Past = time.Unix(1, 0)

// An End records whether a stream is over, and why. It also decides who sets
// the stream's deadlines: its user before the end, and afterwards only the code
// that ends the stream. The zero value is ready to use: the stream is not over.
type End struct {
	reason    atomic.Pointer[error]
	deadlines sync.Mutex

	mu   sync.Mutex // held to set reason
	done chan struct{}
}

// Begin records that the stream is over. If it was over already, Begin changes
// nothing and returns false: the first reason counts.
func (e *End) Begin(reason error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.reason.CompareAndSwap(nil, &reason) {
		return false
	}
	if e.done != nil {
		close(e.done)
	}
	return true
}

// Done returns a channel that is closed once the stream is over. The channel is
// allocated by the first call.
func (e *End) Done() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done == nil {
		e.done = make(chan struct{})
		if e.Reason() != nil {
			close(e.done)
		}
	}
	return e.done
}

// Reason returns why the stream is over, or nil if it is not.
func (e *End) Reason() error {
	if reason := e.reason.Load(); reason != nil {
		return *reason
	}
	return nil
}

// Before calls set, which sets a deadline for the user. If the stream is over,
// it returns the reason instead.
func (e *End) Before(set func() error) error {
	e.deadlines.Lock()
	defer e.deadlines.Unlock()
	if reason := e.Reason(); reason != nil {
		return reason
	}
	return set()
}

// Do calls f, even if the stream is over. Only one call of Before or Do runs at
// a time, so that the deadline set last counts, and f may use state that they
// share.
func (e *End) Do(f func()) {
	e.deadlines.Lock()
	defer e.deadlines.Unlock()
	f()
}
