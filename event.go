package p2p

import (
	"net/netip"
	"time"
)

// An Event reports one change of a node's state. Events of one node have one
// order, which every subscriber sees, and each is delivered after the change:
// the state that a subscriber reads is never older than the event. The state
// can also be read from [P2P.Peers], [P2P.Listeners], [P2P.Hooks] and
// [P2P.Metadata].
type Event interface {
	// told records in v that the watcher is told the event, and returns the
	// event to tell: nil if the watcher knows it already, because a Resync
	// has overtaken the event. resync says that the event comes from the
	// difference of two states. It runs under P2P.mu.
	told(v *view, resync bool) Event
}

// A PeerEvent is an [Event] about a peer: every event whose name begins with
// Peer.
type PeerEvent interface {
	Event
	Of() *Peer // the peer that it is about
}

// Resync says that events may have been dropped, or that a subscription has
// just begun: read the state again.
type Resync struct{}

// MetadataModified says that this node's metadata has changed; see
// [P2P.Metadata].
type MetadataModified struct{}

// TrackedModified says that hooks keep another peer in view, or one of them no
// more; see [P2P.Tracked].
type TrackedModified struct{}

// RevocationsModified says that a peer was revoked or reinstated; see
// [P2P.Revoked].
type RevocationsModified struct{}

// NetworkModified says that the network of this computer is another one: its
// addresses or routes have changed, or it was asleep. Hooks act on it by
// themselves; connections go on as far as that is possible. A watcher that is slow
// may miss it.
type NetworkModified struct {
	Woke  bool          // the computer was asleep, or the process stood still
	Slept time.Duration // for how long, not exactly; 0 if not Woke
}

// ListenerRegistered says that a listener can be used to reach peers from now
// on.
type ListenerRegistered struct{ Listener string }

// ListenerAddrAdded says that a listener accepts connections at another
// address.
type ListenerAddrAdded struct {
	Listener string
	Addr     netip.AddrPort
}

// ListenerAddrRemoved says that a listener stopped accepting connections at an
// address.
type ListenerAddrRemoved struct {
	Listener string
	Addr     netip.AddrPort
}

// ListenerUnregistered says that a listener has ended.
type ListenerUnregistered struct{ Listener string }

// HookStopped says that a hook ended unasked. Err is the error that Run
// returned, a *[PanicError], or nil. All its reports have been withdrawn.
type HookStopped struct {
	Hook string
	Err  error
}

// PeerAvailable says that a peer has become known: discovered by a first hook,
// or connected.
type PeerAvailable struct{ Peer *Peer }

// PeerUnavailable says that nobody discovers the peer any more, and that no
// connection with it is left.
type PeerUnavailable struct{ Peer *Peer }

// PeerDiscoveredBy says that a hook has discovered a peer, or other candidates
// for it.
type PeerDiscoveredBy struct {
	Peer *Peer
	Hook string
}

// PeerExpiredBy says that a hook does not discover a peer any more.
type PeerExpiredBy struct {
	Peer *Peer
	Hook string
}

// PeerConnectedWith says that the first connection between a listener and a
// peer is up.
type PeerConnectedWith struct {
	Peer     *Peer
	Listener string
}

// PeerDisconnectedWith says that the last connection between a listener and a
// peer is down.
type PeerDisconnectedWith struct {
	Peer     *Peer
	Listener string
}

// PeerPathChanged says that a connection with a peer runs another way from now on,
// and what uses it goes on: the address of one of the two has changed. A watcher
// that is slow may miss it; [PeerInfo] has the path as it is.
type PeerPathChanged struct {
	Peer     *Peer
	From, To Path
}

// PeerMetadataModified says that the metadata of an available peer has changed,
// or whether it is verified. After a watcher has missed events, [P2P.Watch]
// also yields it when the peer's candidates may have changed.
type PeerMetadataModified struct{ Peer *Peer }

// Of returns the peer.
func (e PeerAvailable) Of() *Peer { return e.Peer }

// Of returns the peer.
func (e PeerUnavailable) Of() *Peer { return e.Peer }

// Of returns the peer.
func (e PeerDiscoveredBy) Of() *Peer { return e.Peer }

// Of returns the peer.
func (e PeerExpiredBy) Of() *Peer { return e.Peer }

// Of returns the peer.
func (e PeerConnectedWith) Of() *Peer { return e.Peer }

// Of returns the peer.
func (e PeerDisconnectedWith) Of() *Peer { return e.Peer }

// Of returns the peer.
func (e PeerPathChanged) Of() *Peer { return e.Peer }

// Of returns the peer.
func (e PeerMetadataModified) Of() *Peer { return e.Peer }
