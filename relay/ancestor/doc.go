// Package ancestor lets this node and nodes of the first implementation, which
// speak Noise and yamux in a circuit, reach each other through relays. It is a
// listener of its own besides the other two: a program that does not register
// it links neither protocol.
//
//	relays := relay.New(relay.Config{Listener: listener, …})
//	old := ancestor.New(ancestor.Config{Relays: relays})
//	node, err := p2p.Start(ctx, p2p.Config{…, Hooks: []p2p.Hook{listener, relays, old}})
//
// A circuit is offered for packets first, as in package relay. If the peer does
// not accept them, the connection is libp2p's: Noise, which proves that the
// peer is the one that the circuit was opened to, or that the relay has named;
// yamux; and streams of /sdp2p/1. It has neither an exporter nor a key exchange
// that withstands quantum computers. So it is never offered to, nor accepted
// from, a peer that is known to speak version 2, as a member of a library or
// from an earlier connection: if a relay refuses packets in such a peer's name,
// the circuit fails.
//
// Once both nodes have told each other their addresses (DCUtR), or the peer is
// discovered at one, a direct connection is made besides the relayed one: new
// streams use it, and open ones stay.
//
// Limits. A stranger is a peer that is not tracked and that this node did not
// dial.
//
//	connections of a peer; of strangers through one relay   8; 32
//	a stranger's connection without a stream that is served 10 s
//	streams of a peer; of a stranger                        256; 16, and 32 more a second after 64 at once
//	receive window of a stream                              256 KiB, up to 1 MiB
//	receive windows of all peers; of strangers              64 MiB; 16 MiB
//	handshake                                               10 s
//
// Strangers are told nothing but this node's key.
package ancestor
