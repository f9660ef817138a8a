package identity

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Labels of the keys that derive from an identity's seed, each by HKDF (RFC
// 5869) with SHA-256 and no salt. The info is the label, followed by the rest
// of its line:
//
//	label                       then
//	sdp2p-stateless-reset-v1    u8 4 or 6, u16 port   StatelessResetKey
//	sdp2p-host-name-v1          the link's name       HostName
const (
	labelStatelessReset = "sdp2p-stateless-reset-v1"
	labelHostName       = "sdp2p-host-name-v1"
)

// derive returns the key for a label.
func (id Identity) derive(label string, more ...byte) (key [32]byte) {
	b, err := hkdf.Key(sha256.New, id.key().private.Seed(), nil, label+string(more), len(key))
	if err != nil {
		panic("identity: " + err.Error()) // HKDF only refuses larger sizes
	}
	return [32]byte(b)
}

// StatelessResetKey returns the key for the tokens with which a node tells
// peers that it has lost their connections (RFC 9000 §10.3). A node that is
// restarted with the same identity and port has the same key. Each socket has
// its own key, since anybody can make another socket reveal its tokens
// (§21.11): ipv6 is false for a socket that is only for IPv4.
func (id Identity) StatelessResetKey(ipv6 bool, port uint16) [32]byte {
	family := byte(4)
	if ipv6 {
		family = 6
	}
	return id.derive(labelStatelessReset, binary.LittleEndian.AppendUint16([]byte{family}, port)...)
}

// HostName returns the name of the node's host on a link, 32 hexadecimal
// digits. It stays the same across restarts and differs between links. link is
// the name of a network interface, of which the host name reveals nothing
// without the key.
func (id Identity) HostName(link string) string {
	key := id.derive(labelHostName, []byte(link)...)
	return hex.EncodeToString(key[:16])
}
