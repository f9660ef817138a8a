package ancestor

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/relaytest"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

// A relay that requires tokens admits nodes of the first implementation, which
// do not know tokens, by name. Others are refused, as is a node of ours without
// a token; with a token, it can call and be called, and the caller's account
// pays.
func TestPaidRelay(t *testing.T) {
	issuer, ledger := identity.New(), server.NewMemoryLedger(server.Monthly)
	pass := token.Token{
		Account: uuid.UUID{1}, Rights: token.Reserve | token.Connect, Issuer: issuer.Remote(),
		NotBefore: time.Now().Add(-time.Minute), Expiry: time.Now().Add(time.Hour),
	}
	var mu sync.Mutex
	let := map[identity.RemoteIdentity]bool{}
	s, err := server.New(server.Config{
		Identity: identity.New(), Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Ledger: ledger,
		Trusted: func(id identity.RemoteIdentity) bool { return id == issuer.Remote() },
		Known: func(id identity.RemoteIdentity) (token.Token, bool) {
			mu.Lock()
			defer mu.Unlock()
			return pass, let[id]
		},
		Limits: server.Limits{Leave: -1},
	})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	r := &relaytest.Relay{Identity: s.Identity(), Port: s.Addrs()[0].Port()}
	n, old, stranger := start(t, r, New(Config{})), startStock(t, r, true), startStock(t, r, true)
	mu.Lock()
	let[old.id] = true
	mu.Unlock()
	peer := n.track(t, old.id)
	eventually(t, func() bool { return n.relays.States()[0].State == relay.Refused }, "refused")
	require.ErrorIs(t, n.relays.States()[0].Err, relay.ErrNoToken)
	_, err = peer.NewStream(within(t))
	require.Error(t, err)

	mine := pass
	mine.Node = n.Identity()
	mine, err = mine.Sign(issuer)
	require.NoError(t, err)
	require.NoError(t, n.relays.SetTokens(mine))
	n.ready(t)
	old.reserve(t)
	info, err := libp2ppeer.AddrInfoFromP2pAddr(r.Addr())
	require.NoError(t, err)
	_, err = client.Reserve(within(t), stranger, *info)
	require.ErrorContains(t, err, "PERMISSION_DENIED")
	_, err = stranger.call(t, n.Identity())
	require.Error(t, err)
	used := func() int64 {
		sum, err := ledger.Used(context.Background(), pass.Payer(), 0)
		require.NoError(t, err)
		return sum
	}
	ours, err := peer.NewStream(within(t))
	require.NoError(t, err)
	require.Equal(t, 1, ours.Version())
	require.Equal(t, p2p.Relay, ours.Path().Kind)
	echo(t, ours, 1<<20)
	require.NoError(t, ours.Close())

	// The other way round, another node calls.
	caller := startStock(t, r, false)
	mu.Lock()
	let[caller.id] = true
	mu.Unlock()
	_, err = caller.call(t, n.Identity())
	require.NoError(t, err)
	theirs, _ := caller.open(t, n.Identity())
	echo(t, theirs, 1<<20)
	require.NoError(t, theirs.Reset())
	require.NoError(t, s.Close()) // this settles: bytes still held are given back
	require.GreaterOrEqual(t, used(), int64(4<<20))
	require.Less(t, used(), int64(5<<20))
}
