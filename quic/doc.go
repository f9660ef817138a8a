// Package quic is the listener that carries a node's streams over QUIC: it
// accepts and makes connections, proves which peer is at the other end, and
// reaches peers at addresses that a discovery found or that the user typed in.
//
//	listener := quic.New(quic.Config{Port: 7373})
//	node, err := p2p.Start(ctx, p2p.Config{App: "sd", Hooks: []p2p.Hook{listener}})
//	err = listener.SetManualPeers([]string{"laptop.local", "192.168.1.7:7373", "[2001:db8::1]:7373"})
//	for _, m := range listener.ManualPeers() {
//		fmt.Println(m.Entry, m.State, m.Err)
//	}
//
// A connection is made when a stream needs it, shared by all streams with the
// peer, and closed after a minute without one. It runs libp2p's QUIC (RFC 9000
// with libp2p's TLS handshake, in which each side proves an Ed25519 key) on one
// UDP port for IPv4 and IPv6. A fixed port ([Config.Port]) also lets a node
// that was started again tell its peers at once that their connections are
// lost.
//
// What the system refuses to send, for lack of a network, an address or a route,
// counts as lost: a connection ends only if nothing is heard of the peer for 13
// s. To dial where no route leads fails at once.
//
// # Networks that change
//
// Where this host's or the peer's address changes, or nothing is heard for a second
// after something was sent, the side that has dialed moves the connection (RFC 9000
// §9), and streams go on. It moves to an address only after the peer has answered
// there with its key, and leaves from another port where the peer would else see no
// other path: two further sockets serve all connections. A peer that was dialed, is
// no stranger and has another address is told so, and tells. Events are
// [p2p.NetworkModified] and [p2p.PeerPathChanged]; see [Config.DisableMigration].
//
//	what happens                     a stream goes on
//	an address of the dialer         within 50 ms after the new one is there
//	  changes, or its interface
//	one of the listener changes      within 50 ms on a local network
//	the network falls silent, and    within 2 s
//	  another address is known
//	the process stood still          at once, if for less than 13 s
//
// A peer of version 1 lets no connection move: streams with it end, and the next one
// takes a connection that this node makes as soon as the peer answers.
//
// While as much is on its way as the network takes, quic-go sends nothing that
// would find another path: a node that sends at full speed goes on with the next
// retransmission, after about as long as it was away.
//
// # Streams
//
// On a connection each side opens one stream of protocol /sdp2p/2/meta, on
// which it tells its metadata, and any number of application streams of
// protocol /sdp2p/2. Nodes of the first implementation speak version 1,
// /sdp2p/1, and are understood; see docs/protocol.md for every byte. The
// endpoint does no identify.
//
// # Relays
//
// Where a relay client is registered, which is package relay's, a candidate may
// lead through a relay. The connection in the circuit is one like any other, end to
// end. To QUIC the circuit is an address, of a kind that no host has: [p2p.Path]
// has the relay's in its place. Where the circuit ends, the connection goes on
// through another one, and where an address of the peer answers, directly.
//
// # Limits
//
// A stranger is a peer that no hook tracks, that is not behind a manual entry,
// and that this node did not dial on that connection. An address is one of IPv4
// or a /64 of IPv6, a network a /24 or /48. Each number is a field of [Limits],
// of the name given.
//
//	what                            default   field
//	handshakes in progress: of
//	  addresses not proved yet      16        Unproved; 1 each, beyond that a proof is asked for (Retry)
//	  one address                   8         HandshakesPerAddr
//	  one network                   16        HandshakesPerNet
//	  all                           64        Handshakes; beyond it the oldest of the fullest network goes
//	  addresses of tracked and
//	  manual peers, and neighbors   32 more   Known
//	handshakes of an address        32 a second, 64 at once   HandshakesPerSecond
//	a handshake                     3 s
//	connections that peers dialed   512       Connections; tracked peers are always admitted
//	  of one peer                   8         ConnectionsPerPeer; the oldest idle one goes
//	  of strangers                  256       Strangers
//	  of strangers, one address     32        StrangersPerAddr
//	  of strangers, one network     64        StrangersPerNet
//	a stranger's connection on
//	which nothing is served         10 s      StrangerIdle
//	streams that have not said
//	what they are for: a stranger's 16        Opening; others wait
//	  all strangers'                512       OpeningInAll
//	bytes sent and not yet read     64 MiB    Memory; beyond it windows do not grow
//	  by strangers, at 12 times
//	  the size of their windows     16 MiB    StrangerMemory
//	  by a stranger, before one of
//	  its streams is served         256 KiB
//	metadata of a peer              4 changes a second, 16 at once   MetadataPerSecond, Metadata
//	                                16 KiB a second, 64 KiB at once
//
// Streams of a stranger that nobody serves are accepted at 32 a second, after 256
// at once. For the pace of its handshakes, a network counts like two addresses;
// in the networks of this host, each address counts alone.
//
// What the node serves is limited as well: see package p2p.
package quic
