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
