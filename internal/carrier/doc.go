// Package carrier provides a UDP socket for QUIC that survives errors. quic-go
// ends a connection at the first packet that the system refuses to send, and
// all connections of a socket at the first read error. A [Socket] makes the
// network's errors look like lost packets, which QUIC is built for. Then only
// the idle timeout ends a connection.
//
//	what fails                       what the caller sees
//	sending: no route, no address,   a packet that was sent, and lost
//	the interface is down, …
//	sending: too large (EMSGSIZE),   the error: the discovery of the path's
//	no segmentation here (EIO)       MTU and of segmentation need it
//	sending from an address that     the packet leaves from the address that
//	is gone                          the system chooses
//	reading                          a read that takes longer
//	everything, though there is a    a new socket on the same port, in the place
//	route                            of the old one
//
// A Socket has everything that quic-go looks for in a socket: batches,
// segmentation, ECN, the addresses of packets, and the system's buffers. A
// packet that is sent or received without an error costs two or three
// additional pointer loads.
//
// With package quic/gather, Linux coalesces packets of one sender, so that one
// system call reads up to 64 of them; they are handed over in turn, 32 of one
// connection at a time.
//
// Where packets are read in batches, a connection that sends more than others
// leave it waits: what is over 128 packets of it in a millisecond is kept until
// the system has no others, 256 of it at most, and dropped beyond.
//
// # More than one address of a peer
//
// On every path that it switches to, quic-go sends a connection's packets to
// the address that the connection was dialed at. There are three ways to make
// them arrive elsewhere:
//
//   - A [Way] sends from a socket that another transport uses, and reads
//     nothing: the peer's answers arrive at that transport, which knows the
//     connection.
//   - A [Link] is an address that leads into a circuit of a relay. No host has
//     it: packets from the network with that source address are dropped.
//   - [Socket.Redirect] is for a socket with a transport of its own, which
//     serves any number of connections whose peers have moved. A peer
//     recognizes a new path only if packets arrive from a new address; its
//     answers arrive at the new transport, which assigns them by their
//     connection IDs.
//
// [Socket.Unpin] is for the other side, which answers from the address that
// received the packet: that network can stop working while the address still
// exists.
package carrier
