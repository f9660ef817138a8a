// Package tcp carries streams over TCP, as a complement to package quic:
// streams with much data, if TCP carries them better, and all streams on
// networks that block UDP. An app that wants it registers one more hook, after
// the listener over UDP.
//
//	udp, lanes := quic.New(quic.Config{Port: 7373}), tcp.New(tcp.Config{})
//	node, err := p2p.Start(ctx, p2p.Config{App: "sd", Hooks: []p2p.Hook{udp, lanes}})
//	...
//	s, err := peer.Open(p2p.Bulk(ctx), "backup")
//
// A lane is one TCP connection for one stream. It is secured by TLS 1.3 with
// the certificates of libp2p, in which each side proves an Ed25519 key. The
// protocol name sdp2p-lane/1 keeps lanes apart from any other service that uses
// the same key. See docs/protocol.md for every byte.
//
// The node's metadata names the port (the entry [p2p.KeyLane]), and so do its
// announcements and the tickets of package pairing. The node dials no lanes to
// a peer that has named no port.
//
// # When
//
//	a stream                                   goes over
//	of p2p.Bulk, to a peer on a network of     a lane
//	  this host, or on a direct path that
//	  has lost more than 1 of 2,000 packets
//	of p2p.Bulk, to a peer that is connected   a lane, if that answers within 1 s;
//	  directly otherwise                       after one that did not, not for 60 s
//	any, while nothing over UDP has answered   a lane, once that has proved who
//	  for 1 s                                  the peer is
//	all others                                 the node's other listener
//
// A connection over UDP on which nothing is heard counts as one that does not
// answer, from a second after something was sent on it. A stream that was
// opened before that stays on the connection, which survives 13 s of silence:
// the peer may have received it, and would otherwise receive it twice.
//
// If a lane fails, the other listener is tried. After a lane that got no answer,
// as from a firewall, none is tried for 60 s or until the network changes,
// unless the path is lossy. If UDP got no answer, one lane is kept, so that the
// peer stays connected; UDP is tried again every 60 s and when the network
// changes, and once it works, the lane is closed.
//
// A lane does not survive a change of address: its stream fails with
// [p2p.ErrConnectionLost] within 13 s, and so does the stream of a lane that is
// cut. A program that has to continue then opens another stream, as package
// block does.
//
// A node has lanes only while it shows its address. While none of its other
// listeners reports an address, because the node is visible only to its
// contacts or because both families are disabled, the port is closed and not
// announced, nothing is dialed, and open lanes are cut. Lanes never lead
// through relays. An app that wants to be reached only through relays must not
// register the listener.
//
// # Limits
//
// Lanes are for peers that the node tracks ([p2p.P2P.Track]), that are behind
// a manual entry, or that it has itself dialed; and for other peers while a
// ticket lets the node expect one. Each number is a field of [Limits].
//
//	what                            default   field
//	handshakes in progress: of
//	  one address                   8         HandshakesPerAddr
//	  one network                   16        HandshakesPerNet
//	  all                           64        Handshakes; beyond it the oldest of the fullest network goes
//	  addresses of tracked peers    32 more   Known
//	a handshake                     3 s
//	the first frame behind it       5 s
//	what a peer can send before it
//	has proved who it is            256 KiB   on Linux; elsewhere what the system takes
//	lanes that peers have opened    1,024     Lanes
//	  of one peer                   256       LanesPerPeer
//	  of those that are expected    16        Expected
//	bytes of a stream that nobody
//	reads                           256 KiB   and what the system takes
//	a frame                         256 KiB
//	metadata of a peer              4 changes a second, 16 at once
//
// Streams count toward the limits of package p2p, and Config.Allow is called,
// as with any other listener.
//
// # Systems
//
// On Linux, a lane that leaves the local network requests the congestion
// control bbr, and a lane ends if data stays unacknowledged for 13 s; elsewhere
// both are up to the system.
package tcp
