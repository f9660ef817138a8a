package quic

import (
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

func TestPeerIDVectors(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../testdata/identity.json")
	require.NoError(t, err)
	var vectors []struct {
		PeerID         string `json:"peer_id"`
		RemoteIdentity string `json:"remote_identity"`
	}
	require.NoError(t, json.Unmarshal(b, &vectors))
	require.NotEmpty(t, vectors)
	for _, v := range vectors {
		id, err := identity.Parse(v.RemoteIdentity)
		require.NoError(t, err)
		require.Equal(t, v.PeerID, peerID(id).String())
		p, err := peer.Decode(v.PeerID)
		require.NoError(t, err)
		back, err := remoteIdentity(p)
		require.NoError(t, err)
		require.Equal(t, id, back)
	}
	for _, p := range []peer.ID{"", "x", "\x00\x24\x08\x01\x12\x20" + peer.ID(make([]byte, 32))} {
		_, err := remoteIdentity(p)
		require.Error(t, err)
	}
}

func TestMultiaddr(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"127.0.0.1:7373", "[2001:db8::1]:1", "[::1]:65535"} {
		addr := netip.MustParseAddrPort(s)
		require.Equal(t, addr, addrPort(multiaddr(addr)))
	}
	require.Equal(t, "/ip4/10.0.0.1/udp/7/quic-v1", multiaddr(netip.MustParseAddrPort("[::ffff:10.0.0.1]:7")).String())
}
