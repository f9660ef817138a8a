// Package carrier is the UDP socket under QUIC, which does not give up: quic-go
// ends a connection at the first packet that the system refuses to send, and
// all connections of a socket at the first error of reading. A [Socket] has the
// network's errors look like lost packets, which QUIC is made for. Whether a
// connection ends is then for its idle time-out to say.
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
// A Socket has what quic-go looks for in a socket: batches, segmentation, ECN,
// the addresses of packets, and the system's buffers. To a packet that is sent
// or received without an error, it adds the loads of two or three pointers.
//
// # More than one address of a peer
//
// quic-go sends what belongs to a connection to the address that the
// connection was dialed at, on each path that it switches to. There are three
// ways to have it arrive elsewhere:
//
//   - A [Way] sends from a socket that other transports use, and reads nothing:
//     the peer's answers arrive at the socket, where the connection is known.
//   - A [Link] is an address that leads into a circuit of a relay. No host has it:
//     what comes from the network in its name is dropped.
//   - [Socket.Redirect] is for a socket with a transport of its own, which
//     serves any number of connections whose peers have moved. A peer sees that
//     it is spoken to on a new path only if packets arrive from a new address;
//     the answers arrive at that transport, which knows by their connection IDs
//     whose they are.
//
// [Socket.Unpin] is for the other side, which answers from where it was asked:
// that network can fall silent while it is there.
package carrier
