package quic

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/sdp2p/p2p/identity"
)

// peerID returns libp2p's name for a node: the identity multihash of its
// wrapped public key.
func peerID(id identity.RemoteIdentity) peer.ID {
	key, err := crypto.UnmarshalEd25519PublicKey(id.PublicKey())
	if err != nil {
		panic("quic: " + err.Error()) // 32 bytes are a key
	}
	p, err := peer.IDFromPublicKey(key)
	if err != nil {
		panic("quic: " + err.Error()) // so is its hash
	}
	return p
}

// remoteIdentity returns the public key in a peer ID. It fails for keys that
// are not Ed25519, and for those that identity.FromBytes refuses.
func remoteIdentity(p peer.ID) (identity.RemoteIdentity, error) {
	key, err := p.ExtractPublicKey()
	if err != nil {
		return identity.RemoteIdentity{}, fmt.Errorf("quic: peer id %v: %w", p, err)
	}
	if key.Type() != crypto.Ed25519 {
		return identity.RemoteIdentity{}, fmt.Errorf("quic: peer id %v: a %v key instead of Ed25519", p, key.Type())
	}
	raw, err := key.Raw()
	if err != nil {
		return identity.RemoteIdentity{}, fmt.Errorf("quic: peer id %v: %w", p, err)
	}
	return identity.FromBytes(raw)
}

// nobody returns a peer ID that no node has, for dialing an address whose
// identity is unknown: the handshake then fails, and its error contains the
// identity.
func nobody() peer.ID {
	_, key, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		panic("quic: " + err.Error()) // crypto/rand does not fail
	}
	p, err := peer.IDFromPublicKey(key)
	if err != nil {
		panic("quic: " + err.Error())
	}
	return p
}

// multiaddr returns libp2p's form of an address.
func multiaddr(addr netip.AddrPort) ma.Multiaddr {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	m, err := manet.FromNetAddr(net.UDPAddrFromAddrPort(addr))
	if err != nil {
		panic("quic: " + err.Error()) // an IP address and a port
	}
	return m.Encapsulate(quicV1)
}

var quicV1 = ma.StringCast("/quic-v1")

// addrPort returns the address in a multiaddr, or the zero AddrPort if there is
// none.
func addrPort(m ma.Multiaddr) netip.AddrPort {
	inner, _ := ma.SplitFunc(m, func(c ma.Component) bool { return c.Protocol().Code == ma.P_QUIC_V1 })
	a, err := manet.ToNetAddr(inner)
	if err != nil {
		return netip.AddrPort{}
	}
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	addr := u.AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}
