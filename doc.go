// Package p2p finds a user's other devices, connects to them, proves who they are, and moves data.
//
// A node is one [P2P]: it keeps the state (who I am, which peers are known and how, what runs) and is the bus
// on which changes of it are told. It does no networking itself. Hooks do: package mdns discovers peers on the
// local network, package quic connects to them, and anybody can write another one.
//
//	node, err := p2p.Start(ctx, p2p.Config{App: "sd", Handler: mux, Hooks: []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{})}})
//	defer node.Shutdown(context.Background())
//	for peer := range node.Available(ctx) { // each peer that is available now or becomes so
//		stream, err := peer.Open(ctx, "echo") // connects when needed; a net.Conn
//		…
//	}
//
// Inbound streams are served by [Config.Handler], most often a [Mux], in which each route says who may call it.
//
// # Identity
//
// A peer is its [identity.RemoteIdentity], which the connection has authenticated. Names and other metadata
// that a discovery reported are anybody's claim until [Peer.Verified] is true; they never grant anything.
//
// # What is told
//
// There are three levels, each built on the one below: [P2P.Available] yields peers, [P2P.Watch] yields events,
// and [P2P.Subscribe] is the queue under both. None of them can slow down the node or each other: whoever reads
// too slowly is told to read the state again, and loses nothing that the state does not show.
//
// # Peers
//
// These invariants hold at every moment that a caller can see:
//
//  1. A peer is in [P2P.Peers] if and only if a hook has discovered it and not expired it, or a listener holds a
//     connection with it.
//  2. [PeerAvailable] and [PeerUnavailable] alternate for one identity.
//  3. One identity is one [*Peer], however many hooks found it.
//  4. A node never discovers itself.
//  5. [PeerConnectedWith] is the first connection up, [PeerDisconnectedWith] the last one down.
package p2p
