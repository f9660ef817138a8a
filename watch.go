package p2p

import (
	"context"
	"iter"
)

// Available yields each peer that is available now or becomes so later, until
// ctx is done, the node shuts down, or the loop is left. A peer that went and
// came back is yielded again.
func (n *P2P) Available(ctx context.Context) iter.Seq[*Peer] {
	return func(yield func(*Peer) bool) {
		for e := range n.Watch(ctx) {
			if e, ok := e.(PeerAvailable); ok && !yield(e.Peer) {
				return
			}
		}
	}
}

// Watch yields the node's events until ctx is done, the node shuts down, or the
// loop is left. It begins with events that describe the present state. A loop
// body may be slow: changes in the meantime are summed up, so that a peer that
// came and went may be left out, but the events yielded always add up to the
// state. [Resync] is never yielded. When Watch describes or sums up, listeners
// come in the order of their registration, and peers in the order of becoming
// available.
func (n *P2P) Watch(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		s := n.Subscribe()
		defer s.Close()
		v := newView(&n.state)
		// ctx first: a queue that never runs empty must not hide that
		// it is done.
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-s.C:
				if !ok || !n.tell(ctx, v, e, yield) {
					return
				}
			}
		}
	}
}

// tell yields an event, or the events that a Resync stands for, unless they are
// no news to the watcher. It returns false once the watcher has stopped.
func (n *P2P) tell(ctx context.Context, v *view, e Event, yield func(Event) bool) bool {
	events := []Event{e}
	_, resync := e.(Resync)
	if resync {
		n.mu.Lock()
		now := n.state.look()
		n.mu.Unlock()
		events = v.difference(now)
	}
	for _, e := range events {
		n.mu.Lock()
		e = e.told(v, resync)
		n.mu.Unlock()
		if e != nil && (ctx.Err() != nil || !yield(e)) {
			return false
		}
	}
	return true
}
