// Package tags computes what a node announces on the local network while it is
// visible only to its contacts, and recognizes contacts. It uses no network and
// no timers.
//
// A node announces an ephemeral key, and a tag for each of its contacts:
//
//	x   = X25519(private key of one, Montgomery form of the other's key)
//	prk = HKDF-Extract(SHA-256, ikm = x, salt = "sdp2p-contact" 00 01)
//	K   = HKDF-Expand(prk, "tag" ‖ announcer[32] ‖ contact[32], 32)
//	tag = HMAC-SHA256(K, epoch as u64, big endian ‖ ephemeral key[32])[:6]
//
// Only the two nodes know K. So a matching tag shows that each has the other as
// a contact; to others it is random. It is valid for one epoch of 15 minutes,
// and for one ephemeral key. One of 2.8·10¹⁴ tags matches by chance, which
// costs a failed handshake.
//
// A [Set] holds the contacts of a node. [Layout] and [Parse] encode and decode
// TXT records. A [Matcher] finds contacts among instances, which anybody can
// announce in any number.
package tags
