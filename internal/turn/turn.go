// Package turn is what streams need whose halves are read, written and closed
// by any goroutine: turns, which calls wait for while another call waits for
// the peer, and the end, which makes them all return.
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

// TakeNow takes the turn if it is free. It reports whether it did.
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

// An End says whether a stream is over, and why. It also decides who sets the
// stream's deadlines: its user before the end, and afterwards only those who
// bring the end about. The zero value is ready to use: the stream is not over.
type End struct {
	reason    atomic.Pointer[error]
	deadlines sync.Mutex
}

// Begin records that the stream is over. It reports false, and changes nothing,
// if it was over already: the first reason counts.
func (e *End) Begin(reason error) bool { return e.reason.CompareAndSwap(nil, &reason) }

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

// Do calls f, also if the stream is over. One call of Before or Do runs at a
// time: the deadline that was set last counts, and what they share is guarded.
func (e *End) Do(f func()) {
	e.deadlines.Lock()
	defer e.deadlines.Unlock()
	f()
}
