// Package backlog turns handlers into listeners: a connection that a handler is
// given waits to be accepted, and the handler returns once the connection is
// over.
package backlog

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/sdp2p/p2p/identity"
)

// The most connections that wait: in all, and of one peer, so that a peer
// cannot shut out the others.
const (
	Max        = 128
	MaxPerPeer = Max / 2
)

// ErrFull is returned if too many connections wait.
var ErrFull = errors.New("too many connections wait to be accepted")

// A Queue holds connections that wait to be accepted, in order of arrival. Its
// methods may be called concurrently.
type Queue struct {
	mu      sync.Mutex
	waiting []*waiter
	perPeer map[identity.RemoteIdentity]int
	more    chan struct{} // of size 1: a connection has arrived
	closed  chan struct{} // is closed by Close
	reason  error         // set once closed is closed
}

type waiter struct {
	conn  net.Conn
	of    identity.RemoteIdentity
	taken chan struct{}
}

// New returns an empty queue.
func New() *Queue {
	return &Queue{
		perPeer: map[identity.RemoteIdentity]int{}, more: make(chan struct{}, 1), closed: make(chan struct{}),
	}
}

// Serve queues a peer's connection, and returns nil once the accepted
// connection is over, which one of the channels signals. If the connection is
// not accepted, Serve returns [ErrFull] if the queue is full, the reason of
// Close if it is closed, or ctx's error; the connection then still belongs to
// the caller.
func (q *Queue) Serve(ctx context.Context, of identity.RemoteIdentity, c net.Conn, over, cut <-chan struct{}) error {
	w := &waiter{conn: c, of: of, taken: make(chan struct{})}
	if err := q.enter(w); err != nil {
		return err
	}
	var err error
	select {
	case <-w.taken:
	case <-over:
	case <-cut:
	case <-q.closed:
		err = q.reason
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if q.leave(w) {
		return err
	}
	select {
	case <-over:
	case <-cut:
	}
	return nil
}

func (q *Queue) enter(w *waiter) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.reason != nil:
		return q.reason
	case len(q.waiting) >= Max || q.perPeer[w.of] >= MaxPerPeer:
		return ErrFull
	}
	q.waiting = append(q.waiting, w)
	q.perPeer[w.of]++
	q.wake()
	return nil
}

// leave removes a waiting connection, and returns false if it was accepted
// already.
func (q *Queue) leave(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return false
	}
	q.remove(i)
	return true
}

// remove removes a connection. The caller holds mu.
func (q *Queue) remove(i int) *waiter {
	w := q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	if q.perPeer[w.of]--; q.perPeer[w.of] == 0 {
		delete(q.perPeer, w.of)
	}
	return w
}

// wake wakes a call of Accept. The caller holds mu.
func (q *Queue) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// Accept returns the connection that has waited longest, waiting for one if
// there is none. Once the queue is closed, it fails with the reason.
func (q *Queue) Accept() (net.Conn, error) {
	for {
		if c, err := q.next(); c != nil || err != nil {
			return c, err
		}
		select {
		case <-q.more:
		case <-q.closed:
		}
	}
}

func (q *Queue) next() (net.Conn, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reason != nil {
		return nil, q.reason
	}
	if len(q.waiting) == 0 {
		return nil, nil
	}
	w := q.remove(0)
	if len(q.waiting) > 0 {
		q.wake() // another call
	}
	close(w.taken)
	return w.conn, nil
}

// Close refuses waiting and later connections, and makes Accept fail, with a
// reason. If the queue was closed already, it does nothing and returns false.
func (q *Queue) Close(reason error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reason != nil {
		return false
	}
	q.reason = reason
	close(q.closed)
	return true
}
