// Package quic provides the listener that carries a node's streams over QUIC:
// it accepts and makes connections, authenticates the peers, and reaches them
// at addresses that a discovery found or that the user typed.
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
// UDP port for IPv4 and IPv6. With a fixed port ([Config.Port]), a restarted
// node can also tell its peers at once that their connections are lost.
//
// While the node is visible only to its contacts (package contact), the
// listener uses a different port in each network, whatever Config.Port says,
// and an ephemeral key towards everybody on the network; manual peers are not
// dialed.
//
// A packet that the system refuses to send, for lack of a network, an address
// or a route, counts as lost: a connection ends only after the peer has been
// silent for 13 s. Dialing an address without a route fails at once.
//
// # Networks that change
//
// When this host's or the peer's address changes, or the peer does not answer
// within a second, the side that dialed moves the connection (RFC 9000 §9), and
// its streams continue. It moves to an address only after the peer has proved
// its key there. If the peer would otherwise see no new path, it sends from
// another port; two further sockets serve all connections for that. If the
// address of the side that was dialed changes, it tells the dialer, unless that
// is a stranger. The events are [p2p.NetworkModified] and
// [p2p.PeerPathChanged]; see [Config.DisableMigration].
//
//	what happens                     a stream goes on
//	an address of the dialer         within 50 ms after the new one is there
//	  changes, or its interface
//	one of the listener changes      within 50 ms on a local network
//	the network falls silent, and    within 2 s
//	  another address is known
//	the process stood still          at once, if for less than 13 s
//
// A version 1 peer does not support moving: streams with it end, and the next
// stream uses a new connection, which this node makes as soon as the peer
// answers.
//
// While the congestion window is full, quic-go sends nothing that would find
// another path: a node that sends at full speed continues with the next
// retransmission, after about as long as it was away.
//
// # Streams
//
// On a connection, each side opens one stream of protocol /sdp2p/2/meta, on
// which it sends its metadata, and any number of application streams of
// protocol /sdp2p/2. Nodes of the first implementation speak version 1,
// /sdp2p/1, which is supported too; see docs/protocol.md for every byte. The
// endpoint does not speak libp2p's identify.
//
// # Relays
//
// If the relay client of package relay is registered, a candidate may lead
// through a relay. The connection in the circuit is like any other, and
// encrypted from end to end. To QUIC, the circuit is an address of a kind that
// no host has; [p2p.Path] has the relay's address instead. When the circuit
// ends, the connection continues through another one, and when an address of
// the peer answers, directly.
//
// # Limits
//
// A stranger is a peer that is not tracked ([p2p.P2P.Track]), that is not
// behind a manual entry, and that this node did not dial on that connection. An
// address is an IPv4 address or an IPv6 /64, and a network is an IPv4 /24 or an
// IPv6 /48. Each number is a field of [Limits].
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
// Streams of a stranger that nobody serves are accepted at 32 a second, after
// 256 at once. The rate of handshakes of a network is twice that of an address;
// within the networks of this host, only each address is limited.
//
// What the node serves is limited as well: see package p2p.
package quic
