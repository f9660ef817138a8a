package relay

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	relayserver "github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

// A paidRelay is a relay that requires tokens.
type paidRelay struct {
	*relayserver.Server
	issuer identity.Identity
	ledger relayserver.Ledger
}

func startPaid(t testing.TB, limits relayserver.Limits) *paidRelay {
	t.Helper()
	r := &paidRelay{issuer: identity.New(), ledger: relayserver.NewMemoryLedger(relayserver.Monthly)}
	if limits.Leave == 0 {
		limits.Leave = -1
	}
	var err error
	r.Server, err = relayserver.New(relayserver.Config{
		Identity: identity.New(), Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Ledger: r.ledger,
		Trusted: func(id identity.RemoteIdentity) bool { return id == r.issuer.Remote() },
		Limits:  limits,
	})
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func (r *paidRelay) entry() Server { return Server{Identity: r.Identity(), Addrs: r.Addrs()} }

// pass returns a token of a node.
func (r *paidRelay) pass(t testing.TB, node identity.RemoteIdentity, account byte) token.Token {
	t.Helper()
	made, err := token.Token{
		Node: node, Account: uuid.UUID{account}, Rights: token.Reserve | token.Connect,
		NotBefore: time.Now().Add(-time.Minute), Expiry: time.Now().Add(time.Hour),
	}.Sign(r.issuer)
	require.NoError(t, err)
	return made
}

func (n *node) state(i int) Status { return n.relays.States()[i] }

// A relay that requires a token refuses this node without one, and the client
// reports that; once it has a token, the relay is used at once. The relay
// reports the address at which it sees this node, and how much of its quota is
// left.
func TestAuthentication(t *testing.T) {
	r := startPaid(t, relayserver.Limits{Quota: 100 << 20})
	a, b := start(t, Config{Only: true}, r.entry()), start(t, Config{Only: true}, r.entry())
	peer, _ := know(t, a, b)
	eventually(t, func() bool { return b.state(0).State == Refused }, "refused")
	require.ErrorIs(t, b.state(0).Err, ErrNoToken)
	_, err := peer.NewStream(within(t))
	require.Error(t, err)

	require.NoError(t, b.relays.SetTokens(r.pass(t, b.Identity(), 1)))
	require.NoError(t, a.relays.SetTokens(r.pass(t, a.Identity(), 1)))
	a.ready(t, 1)
	b.ready(t, 1)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	echo(t, s, 1<<20)
	require.NoError(t, s.Close())
	st := a.state(0)
	require.True(t, st.Observed.Addr().IsLoopback(), st)
	require.NoError(t, st.Err)
	port, _ := a.listener.Port()
	require.Equal(t, port, st.Observed.Port())
	require.Positive(t, st.BytesLeft)
}

// A refusal names the quota as its reason even if the quota was used up at
// another relay or by another node since the client was last told about it. A
// remainder of less than a circuit costs counts as used up.
func TestQuotaUsedUpElsewhere(t *testing.T) {
	const quota = 100_000
	r := startPaid(t, relayserver.Limits{Quota: quota})
	a, b := start(t, Config{Only: true}, r.entry()), start(t, Config{Only: true}, r.entry())
	peer, _ := know(t, a, b)
	for _, n := range []*node{a, b} {
		require.NoError(t, n.relays.SetTokens(r.pass(t, n.Identity(), 1)))
		n.ready(t, 1)
	}
	require.EqualValues(t, quota, a.state(0).BytesLeft)
	_, err := r.ledger.Take(t.Context(), token.Account{Issuer: r.issuer.Remote(), Number: uuid.UUID{1}}, quota-1000, quota)
	require.NoError(t, err)
	_, err = peer.NewStream(within(t))
	require.ErrorIs(t, err, circuit.QuotaUsedUp)
	require.Equal(t, map[string]uint64{"relay: quota used up": 1}, a.State().Counters.Causes["attempts_failed"])
}

// A relay that announces its shutdown is left before it shuts down, and a
// stream goes on through another relay.
func TestLeaving(t *testing.T) {
	first, second := startPaid(t, relayserver.Limits{Leave: 2 * time.Second}), startPaid(t, relayserver.Limits{Leave: 2 * time.Second})
	second.issuer = first.issuer
	list := []Server{first.entry(), second.entry()}
	a, b := start(t, Config{Only: true}, list...), start(t, Config{Only: true}, list...)
	for _, n := range []*node{a, b} {
		require.NoError(t, n.relays.SetTokens(first.pass(t, n.Identity(), 1)))
	}
	peer, _ := know(t, a, b)
	a.ready(t, 2)
	b.ready(t, 2)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	defer s.Close()
	echo(t, s, 1<<16)
	leaves, stays := first, second
	if peer.Path().Relay == second.Identity() {
		leaves, stays = second, first
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		leaves.Leave(t.Context())
	}()
	eventually(t, func() bool {
		echo(t, s, 1000)
		return peer.Path().Relay == stays.Identity()
	}, "the other relay")
	<-gone
	echo(t, s, 1<<16)
	require.Equal(t, p2p.Relay, peer.Path().Kind)
}
