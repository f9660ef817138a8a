package identity

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Keys that derive from an identity's seed, each by HKDF (RFC 5869) with SHA-256,
// no salt, and as info its label and what follows it in the table:
//
//	label                       then
//	sdp2p-stateless-reset-v1    u8 4 or 6, u16 port   StatelessResetKey
//	sdp2p-host-name-v1          the link's name       HostName
const (
	labelStatelessReset = "sdp2p-stateless-reset-v1"
	labelHostName       = "sdp2p-host-name-v1"
)

// derive returns the key of a label.
func (id Identity) derive(label string, more ...byte) (key [32]byte) {
	b, err := hkdf.Key(sha256.New, id.key().private.Seed(), nil, label+string(more), len(key))
	if err != nil {
		panic("identity: " + err.Error()) // 32 bytes are not too many
	}
	return [32]byte(b)
}

// StatelessResetKey returns the key of the tokens by which a node tells peers that
// it has lost their connections (RFC 9000 §10.3): a node that is started again
// with the same identity and port has the same one. A socket has a key of its own,
// since anybody can have another one give away its tokens (§21.11): ipv6 is false
// for a socket of IPv4 alone.
func (id Identity) StatelessResetKey(ipv6 bool, port uint16) [32]byte {
	family := byte(4)
	if ipv6 {
		family = 6
	}
	return id.derive(labelStatelessReset, binary.LittleEndian.AppendUint16([]byte{family}, port)...)
}

// HostName returns the name of a node's host on a link, 32 hexadecimal digits: the
// same after each start, and another one for each link. Who does not have the key
// learns nothing from it of link, which is the name of a network interface.
func (id Identity) HostName(link string) string {
	key := id.derive(labelHostName, []byte(link)...)
	return hex.EncodeToString(key[:16])
}
