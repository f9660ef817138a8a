package p2p

import "net/netip"

// An Event tells of one change of a node's state. Events of one node have one order, which every subscriber
// sees, and each is told after the change: the state that a subscriber reads is never older than the event.
// What an event says can also be read from [P2P.Peers], [P2P.Listeners], [P2P.Hooks] and [P2P.Metadata].
type Event interface{ event() }

// Resync says that events may have been dropped, or that a subscription has just begun: read the state again.
type Resync struct{}

// MetadataModified says that this node's metadata has changed; see [P2P.Metadata].
type MetadataModified struct{}

// ListenerRegistered says that a listener can be used to reach peers from now on.
type ListenerRegistered struct{ Listener string }

// ListenerAddrAdded says that a listener accepts connections at another address.
type ListenerAddrAdded struct {
	Listener string
	Addr     netip.AddrPort
}

// ListenerAddrRemoved says that a listener stopped accepting connections at an address.
type ListenerAddrRemoved struct {
	Listener string
	Addr     netip.AddrPort
}

// ListenerUnregistered says that a listener has ended.
type ListenerUnregistered struct{ Listener string }

// HookStopped says that a hook ended without being asked to, with its error: what it returned, a *[PanicError],
// or nil if it just returned. What it had reported has been withdrawn.
type HookStopped struct {
	Hook string
	Err  error
}

// PeerAvailable says that a peer has become known: discovered by a first hook, or connected.
type PeerAvailable struct{ Peer *Peer }

// PeerUnavailable says that nobody discovers the peer any more, and that no connection with it is left.
type PeerUnavailable struct{ Peer *Peer }

// PeerDiscoveredBy says that a hook has discovered a peer, or other candidates for it.
type PeerDiscoveredBy struct {
	Peer *Peer
	Hook string
}

// PeerExpiredBy says that a hook does not discover a peer any more.
type PeerExpiredBy struct {
	Peer *Peer
	Hook string
}

// PeerConnectedWith says that the first connection between a listener and a peer is up.
type PeerConnectedWith struct {
	Peer     *Peer
	Listener string
}

// PeerDisconnectedWith says that the last connection between a listener and a peer is down.
type PeerDisconnectedWith struct {
	Peer     *Peer
	Listener string
}

// PeerMetadataModified says that the metadata of an available peer, as [Peer.Metadata] shows it, or whether it is
// verified, has changed. Whoever watches and has missed something is told it also where the candidates may be others than
// could be read before.
type PeerMetadataModified struct{ Peer *Peer }

// RevocationsModified says that a peer was revoked or reinstated; see [P2P.Revoked].
type RevocationsModified struct{}

func (Resync) event()               {}
func (RevocationsModified) event()  {}
func (MetadataModified) event()     {}
func (ListenerRegistered) event()   {}
func (ListenerAddrAdded) event()    {}
func (ListenerAddrRemoved) event()  {}
func (ListenerUnregistered) event() {}
func (HookStopped) event()          {}
func (PeerAvailable) event()        {}
func (PeerUnavailable) event()      {}
func (PeerDiscoveredBy) event()     {}
func (PeerExpiredBy) event()        {}
func (PeerConnectedWith) event()    {}
func (PeerDisconnectedWith) event() {}
func (PeerMetadataModified) event() {}

// queueSize is the length of a subscription's queue, in events. The last slot is kept for a Resync.
const queueSize = 256

// A Subscription is a queue of a node's events. It begins with a [Resync].
//
// Publishing never waits for a subscriber. When the queue is full, one Resync takes its last slot, and events are
// dropped until all of it has been read: the state is newer than anything dropped.
type Subscription struct {
	// C delivers the events. It is closed by Close and when the node shuts down.
	C <-chan Event

	node    *P2P
	queue   chan Event // node.mu: only its holder sends or closes
	lagging bool       // node.mu: a Resync has taken the last slot, and not all has been read since
	closed  bool       // node.mu
}

// Subscribe begins a subscription. Most programs use [P2P.Watch] or [P2P.Available] instead.
// After [P2P.Shutdown] its channel is closed.
func (n *P2P) Subscribe() *Subscription {
	queue := make(chan Event, queueSize)
	s := &Subscription{C: queue, node: n, queue: queue}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.subscriptionsClosed {
		s.closed = true
		close(queue)
		return s
	}
	queue <- Resync{}
	n.subscriptions = append(n.subscriptions, s)
	return s
}

// Close ends the subscription. It may be called more than once and concurrently.
func (s *Subscription) Close() {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	close(s.queue)
	for i, other := range s.node.subscriptions {
		if other == s {
			s.node.subscriptions = append(s.node.subscriptions[:i:i], s.node.subscriptions[i+1:]...)
			break
		}
	}
}

// push never blocks: the node's lock makes this the only sender, so that there is room if len says so.
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

// publish tells e to every subscription. The caller holds n.mu, under which it has made the change.
func (n *P2P) publish(e Event) {
	for _, s := range n.subscriptions {
		s.push(e)
	}
}

// closeSubscriptions ends all subscriptions, and those to come.
func (n *P2P) closeSubscriptions() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.subscriptionsClosed = true
	for _, s := range n.subscriptions {
		s.closed = true
		close(s.queue)
	}
	n.subscriptions = nil
}
