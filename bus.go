package p2p

import (
	"slices"
	"sync"
)

// queueSize is the length of a subscription's queue, in events. The last slot
// is kept for a Resync.
const queueSize = 256

// A bus delivers events to subscriptions.
type bus struct {
	subscriptions []*Subscription
	closed        bool
}

// A Subscription is a queue of a node's events. It begins with a [Resync].
//
// Publishing never waits for a subscriber. When the queue is full, one Resync
// takes its last slot, and events are dropped until the whole queue has been
// read: the state is newer than any of them.
type Subscription struct {
	// C delivers the events. It is closed by Close and when the node shuts
	// down.
	C <-chan Event

	mu      *sync.Mutex // the node's; guards all below
	bus     *bus
	queue   chan Event // only the holder of mu sends or closes
	lagging bool       // a Resync has taken the last slot, and the queue was not empty since
	closed  bool
}

// Subscribe begins a subscription. Most programs use [P2P.Watch] or
// [P2P.Available] instead. After [P2P.Shutdown] its channel is closed.
func (n *P2P) Subscribe() *Subscription {
	queue := make(chan Event, queueSize)
	s := &Subscription{C: queue, mu: &n.mu, bus: &n.state.bus, queue: queue}
	n.mu.Lock()
	defer n.mu.Unlock()
	s.bus.add(s)
	return s
}

// Close ends the subscription. It may be called more than once and
// concurrently.
func (s *Subscription) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bus.remove(s)
}

func (b *bus) add(s *Subscription) {
	if b.closed {
		s.close()
		return
	}
	s.queue <- Resync{}
	b.subscriptions = append(b.subscriptions, s)
}

func (b *bus) remove(s *Subscription) {
	if s.closed {
		return
	}
	s.close()
	b.subscriptions = slices.DeleteFunc(b.subscriptions, func(other *Subscription) bool { return other == s })
}

// close ends all subscriptions; later ones begin closed.
func (b *bus) close() {
	b.closed = true
	for _, s := range b.subscriptions {
		s.close()
	}
	b.subscriptions = nil
}

// publish delivers an event to all subscriptions.
func (b *bus) publish(e Event) {
	for _, s := range b.subscriptions {
		s.push(e)
	}
}

func (s *Subscription) close() {
	s.closed = true
	close(s.queue)
}

// push delivers an event without blocking: the node's lock makes this the only
// sender, so that there is room if len says so.
func (s *Subscription) push(e Event) {
	used := len(s.queue)
	if s.lagging {
		if used > 0 {
			return
		}
		s.lagging = false
	}
	if used < cap(s.queue)-1 {
		s.queue <- e
		return
	}
	s.queue <- Resync{}
	s.lagging = true
}
