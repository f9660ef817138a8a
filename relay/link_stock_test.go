package relay

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/relaytest"
	relayserver "github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

// A relay of go-libp2p, which requires no token, does not see a byte of a token
// that only the issuer and a relay of the issuer's need to know.
func TestStockRelaySeesNoToken(t *testing.T) {
	var mu sync.Mutex
	var seen []byte
	r := relaytest.Tapped(t, func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, b...)
	})
	server := Server{Identity: r.Identity, Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), r.Port)}}
	issuer := startPaid(t, relayserver.Limits{})
	a, b := start(t, Config{Only: true}, server), start(t, Config{Only: true}, server)
	var secret [][]byte
	for i, n := range []*node{a, b} {
		one := issuer.pass(t, n.Identity(), byte(1+i))
		require.NoError(t, n.relays.SetTokens(one))
		hello, err := circuit.AppendHello(nil, []token.Token{one})
		require.NoError(t, err)
		secret = append(secret, hello[len(hello)-32-64:]) // without the node's key
		require.NoError(t, n.relays.Set([]Server{server}))
	}
	peer, _ := know(t, a, b)
	a.ready(t, 1)
	b.ready(t, 1)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	defer s.Close()
	echo(t, s, 1<<10)
	require.Equal(t, p2p.Relay, peer.Path().Kind)
	require.NoError(t, a.relays.SetTokens(issuer.pass(t, a.Identity(), 1))) // again
	echo(t, s, 1<<10)

	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, string(seen), circuit.AuthProtocol, "the relay must have been asked")
	require.Contains(t, string(seen), circuit.HopProtocol)
	for _, bytesOf := range secret {
		for i := range len(bytesOf) - 4 {
			require.False(t, bytes.Contains(seen, bytesOf[i:i+5]), i)
		}
	}
}
