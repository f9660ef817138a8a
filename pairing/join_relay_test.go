package pairing_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/relaytest"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

var nowhere = netip.MustParseAddrPort("127.0.0.1:1")

// away starts a device that can be reached only through relays.
func away(t *testing.T, name string, tokens []token.Token, key *device, servers ...relay.Server) (*device, *relay.Client) {
	t.Helper()
	listener := quic.New(quic.Config{})
	client := relay.New(relay.Config{Listener: listener, Only: true, Servers: servers, Tokens: tokens})
	return key.start(t, name, listener, client), client
}

// A ticket names the relays of its node. If no address answers, the other
// device joins through one of them, even if that relay is not on its own list;
// from then on, the two are members for each other.
func TestJoinThroughRelay(t *testing.T) {
	t.Parallel()
	r := relaytest.Start(t)
	entry := relay.Server{Identity: r.Identity, Addrs: []netip.AddrPort{netip.AddrPortFrom(nowhere.Addr(), r.Port)}}
	a, relays := away(t, "Alice's", nil, newDevice(), entry)
	a.create(t)
	b, others := away(t, "Bob's", nil, newDevice())
	require.NoError(t, relays.Wait(t.Context()))
	i := a.inviteAt(t, nowhere)
	ticket, err := pairing.ParseTicket(i.Ticket().Text())
	require.NoError(t, err)
	require.Equal(t, []pairing.TicketRelay{{Node: entry.Identity, Addr: entry.Addrs[0]}}, ticket.Relays)
	require.NoError(t, b.join(t.Context(), ticket, b.yes))
	_, err = i.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, a.asked[0].Code, b.asked[0].Code)
	members(t, a, b)
	peer, ok := b.Peer(a.Identity())
	require.True(t, ok)
	require.Equal(t, p2p.Relay, peer.Path().Kind)
	b.talks(t, a)
	require.Empty(t, others.States(), "the relay is not on Bob's list")
	require.Empty(t, a.invite(t, pairing.InviteConfig{Relays: []pairing.TicketRelay{}}).Ticket().Relays)
}

// At a relay that requires tokens, the joiner shows its own, of another
// account. While the invitation is valid, any account may call the node that
// has made it; before and after, only its own account may.
func TestJoinThroughRelayWithToken(t *testing.T) {
	t.Parallel()
	issuer := identity.New()
	s, err := server.New(server.Config{
		Identity: identity.New(), Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Ledger: server.NewMemoryLedger(server.Monthly),
		Trusted: func(id identity.RemoteIdentity) bool { return id == issuer.Remote() }, Limits: server.Limits{Leave: -1},
	})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	pass := func(d *device, account byte, of identity.RemoteIdentity) []token.Token {
		made, err := token.Token{
			Node: d.id.Remote(), Account: uuid.UUID{account}, Relay: of, Rights: token.Reserve | token.Connect,
			NotBefore: time.Now().Add(-time.Minute), Expiry: time.Now().Add(time.Hour),
		}.Sign(issuer)
		require.NoError(t, err)
		return []token.Token{made}
	}
	entry := relay.Server{Identity: s.Identity(), Addrs: s.Addrs()}
	alice, bob, carol := newDevice(), newDevice(), newDevice()
	a, relays := away(t, "Alice's", pass(alice, 1, identity.RemoteIdentity{}), alice, entry)
	a.create(t)
	b, _ := away(t, "Bob's", pass(bob, 2, s.Identity()), bob) // only the relay of the ticket
	c, _ := away(t, "Carol's", pass(carol, 3, identity.RemoteIdentity{}), carol)
	require.NoError(t, relays.Wait(t.Context()))
	i := a.inviteAt(t, nowhere)
	err = context.DeadlineExceeded
	for wait := time.Second; !errors.Is(err, relay.ErrNoToken) && wait < time.Minute; wait *= 2 { // until the relay has answered in time
		brief, cancel := context.WithTimeout(t.Context(), wait)
		err = c.join(brief, i.Ticket(), c.yes)
		cancel()
	}
	require.ErrorIs(t, err, relay.ErrNoToken, "a token for all relays is not shown to a relay that is not on the list")
	require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
	members(t, a, b)
	b.talks(t, a)
}
