package call

import (
	"io"
	"sync"
)

// queueSize is the number of bytes waiting to be written from which on put
// waits.
const queueSize = 16 << 10

// A queue writes the messages put into it: the first at once, and those put
// during a Write together, since a Write costs as much as some KiB.
type queue struct {
	to   io.Writer
	done chan struct{} // closed once nothing more is written

	mu      sync.Mutex
	changed sync.Cond
	b       []byte
	over    bool
	err     error // of a Write
}

func newQueue(to io.Writer) *queue {
	q := &queue{to: to, done: make(chan struct{})}
	q.changed.L = &q.mu
	go q.run()
	return q
}

// run writes until close is called, or a Write fails.
func (q *queue) run() {
	defer close(q.done)
	var out []byte
	for {
		q.mu.Lock()
		for len(q.b) == 0 && !q.over {
			q.changed.Wait()
		}
		out, q.b = q.b, out[:0]
		q.changed.Broadcast()
		q.mu.Unlock()
		if len(out) == 0 {
			return
		}
		if _, err := q.to.Write(out); err != nil {
			q.mu.Lock()
			q.err = err
			q.changed.Broadcast()
			q.mu.Unlock()
			return
		}
	}
}

// put adds a part with a message. It waits while there is no room, and fails
// once a Write has failed.
func (q *queue) put(m encoder) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.b) >= queueSize && q.err == nil {
		q.changed.Wait()
	}
	if q.err != nil {
		return q.err
	}
	b, err := m.AppendBinary(append(q.b, partMessage))
	if err == nil {
		q.b = b
		q.changed.Broadcast()
	}
	return err
}

// close ends the queue, whose contents are still written. Until that is done,
// nothing else may be written, nor the other side told that this one has ended.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = true
	q.changed.Broadcast()
}

// wait waits until everything is written.
func (q *queue) wait() error {
	q.close()
	<-q.done
	return q.err
}
