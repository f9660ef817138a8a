package p2p

import (
	"net/netip"
	"time"
)

// An Event reports one change of a node's state. Every subscriber sees the
// events of a node in the same order, and each is delivered after the change:
// the state that a subscriber reads is never older than the event. [P2P.Peers],
// [P2P.Listeners], [P2P.Hooks] and [P2P.Metadata] return the state.
type Event interface {
	// told records in v that the watcher is told of the event, and returns the
	// event to yield: nil if the watcher knows it already because a Resync has
	// overtaken the event. resync reports whether the event comes from the
	// difference of two states. It runs under P2P.mu.
	told(v *view, resync bool) Event
}

// A PeerEvent is an [Event] about a peer: every event whose name begins with
// Peer.
type PeerEvent interface {
	Event
	Of() *Peer // the peer that it is about
}

// Resync says that the state has to be read again: events may have been
// dropped, or the subscription has just begun.
type Resync struct{}

// MetadataModified says that this node's metadata has changed; see
// [P2P.Metadata].
type MetadataModified struct{}

// TrackedModified says that a peer has become tracked, or is no longer tracked;
// see [P2P.Tracked].
type TrackedModified struct{}

// RevocationsModified says that a peer was revoked or reinstated; see
// [P2P.Revoked].
type RevocationsModified struct{}

// NetworkModified says that the network of this computer has changed: its
// addresses or routes are others, or it was asleep. Hooks react by themselves,
// and connections survive where possible. A slow watcher may miss the event.
type NetworkModified struct {
	Woke  bool          // the computer was asleep, or the process stood still
	Slept time.Duration // for how long, roughly; 0 if not Woke
}

// ListenerRegistered says that a listener can now be used to reach peers.
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

// PeerAvailable says that a peer has become available: a first hook discovered
// it, or it connected.
type PeerAvailable struct{ Peer *Peer }

// PeerUnavailable says that no hook discovers the peer any more, and that its
// last connection is gone.
type PeerUnavailable struct{ Peer *Peer }

// PeerDiscoveredBy says that a hook has discovered a peer, or now reports other
// candidates for it.
type PeerDiscoveredBy struct {
	Peer *Peer
	Hook string
}

// PeerExpiredBy says that a hook no longer discovers a peer.
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

// PeerPathChanged says that a connection with a peer now takes another path,
// because the address of one of the two nodes has changed. Its streams
// continue. A slow watcher may miss the event; [PeerInfo] has the current path.
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
