// Package tunnel is a stream inside a stream, between two instances of a
// library: both prove that they hold their keys, and nobody between them reads
// or changes anything, not even with the stolen key of a node.
//
//	conn, err := tunnel.Open(ctx, session, credential, member) // one side
//	conn, err := responder.Accept(ctx, session)                // the other side, with its node's Responder
//	conn.Write(data)                                           // a net.Conn with CloseWrite
//
// Most programs use package library, which turns a node's streams into
// sessions, keeps the members, and opens tunnels to them.
//
// # Handshake
//
// Noise_IKpsk1_25519_ChaChaPoly_SHA256 (Noise revision 34) with one round trip.
// The initiator knows the responder's key; the responder finds the initiator's
// in its list of members. The prologue, which is never sent, ties both to the
// two nodes, the library, and the QUIC connection:
//
//	offset  size  content
//	0       16    "sdp2p-tunnel-v1" and a zero byte
//	16      32    initiator's node key
//	48      32    responder's node key
//	80      16    UUID of the library
//	96      32    TLS exporter of the connection, or zero where there is none
//
//	M1  98 bytes  'T', version 1, e (32), encrypted s (48), tag (16)
//	M2  48 bytes  e (32), tag (16)
//
// The responder learns from M1 who claims to be there, but M1 can be replayed:
// it returns a tunnel, and sends data, only after the initiator's confirmation,
// which is the initiator's record 0. A refusal gives no reason, and always
// comes at a multiple of 250 ms.
//
// # Records
//
//	size  field
//	1     type: 0 data, 1 confirmation, 2 end
//	2     length of what follows, big-endian: of data 17 to 32784, otherwise 16
//	      ciphertext with tag; the three bytes above are associated data
//
// Each direction counts its records from 0, and changes its key before each
// 32768th. Its end is authenticated: a stream that is cut off, by the network
// or an attacker, never looks like one that ended.
//
// # Trust
//
// The handshake proves that the peer held the instance's private key and the
// library's secret while the connection was open, and that both nodes see the
// same connection. A thief of an instance's key is that instance until the
// others remove it from their lists. Contents stay secret if keys are stolen
// later (ephemeral keys are not kept); identities in M1 do not, if the
// responder's key is.
package tunnel
