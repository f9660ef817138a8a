// Package circuit encodes and decodes the messages of relays: circuit relay
// v2's hop and stop, the access to a relay, DCUtR's messages, and the probes
// that find a direct path. The frames in a circuit are package carrier's.
//
// Circuit relay v2:
// https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md. DCUtR:
// https://github.com/libp2p/specs/blob/master/relay/DCUtR.md. The rest is the
// chapter "Relays" of docs/protocol.md.
//
// Every decoder reads exactly the bytes of its message.
package circuit

// The names of the protocols in multistream.
const (
	// HopProtocol is spoken between a client and a relay.
	HopProtocol = "/libp2p/circuit/relay/0.2.0/hop"
	// StopProtocol is spoken between a relay and the callee.
	StopProtocol = "/libp2p/circuit/relay/0.2.0/stop"
	// AuthProtocol controls the access to a relay.
	AuthProtocol = "/sdp2p/relay-auth/1"
	// PacketsProtocol is spoken in a circuit: frames with QUIC packets.
	PacketsProtocol = "/sdp2p/2/packets"
	// NoiseProtocol is spoken in a circuit by other implementations of libp2p.
	NoiseProtocol = "/noise"
	// PunchProtocol coordinates the search for a direct path.
	PunchProtocol = "/libp2p/dcutr"
)
