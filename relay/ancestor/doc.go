// Package ancestor reaches nodes of the first implementation through relays, which
// speak Noise and yamux in a circuit, and has them reach this node. It is a listener
// of its own beside the other two: a program that does not register it links neither
// protocol.
//
//	relays := relay.New(relay.Config{Listener: listener, …})
//	old := ancestor.New(ancestor.Config{Relays: relays})
//	node, err := p2p.Start(ctx, p2p.Config{…, Hooks: []p2p.Hook{listener, relays, old}})
//
// A circuit is offered for packets first, as package relay does. Where the peer does
// not take them, the connection in it is libp2p's: Noise, which proves that the peer
// is the one that the circuit was opened to, or that the relay has named; yamux; and
// streams of /sdp2p/1. It has no exporter and no exchange of keys that withstands
// quantum computers, which is why a peer that is known to speak version 2, as a
// member of a library or from an earlier connection, is never offered it, and not
// served by it: a relay that refuses packets in its name gets an error.
//
// Where both nodes have told each other their addresses (DCUtR) or the peer is
// discovered at one, a direct connection is made beside the relayed one: new streams
// take it, and those that are open stay.
//
// Limits. A stranger is a peer that no hook tracks and that this node did not dial.
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
