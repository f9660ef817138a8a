package relay

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	relayserver "github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

// A node of another account can call this one only while it is expected: at the
// relays that Expect returns, even if the connection with them is replaced.
func TestExpect(t *testing.T) {
	r := startPaid(t, relayserver.Limits{})
	a, b := start(t, Config{Only: true}, r.entry()), start(t, Config{Only: true}, r.entry())
	for i, n := range []*node{a, b} {
		require.NoError(t, n.relays.SetTokens(r.pass(t, n.Identity(), byte(1+i))))
	}
	peer := a.scope.Track(b.Identity()) // b does not track a
	_, former := b.relays.Expect()
	former()
	former() // must not end any other expectation
	b.ready(t, 1)
	calls := func() error {
		way, err := router{a.relays}.Circuit(within(t), r.Identity(), netip.AddrPort{}, peer.Identity(), 2)
		if err == nil {
			way.Close()
		}
		return err
	}
	called := func() bool { return calls() == nil }
	require.ErrorIs(t, calls(), circuit.NoReservation)
	at, over := b.relays.Expect()
	require.Equal(t, []p2p.Candidate{{Kind: p2p.Relay, Relay: r.Identity(), Addr: r.Addrs()[0]}}, at)
	_, second := b.relays.Expect()
	eventually(t, called, "called")
	second()
	second()
	require.NoError(t, b.relays.Set(nil)) // and makes a new connection
	require.NoError(t, b.relays.Set([]Server{r.entry()}))
	b.ready(t, 1)
	eventually(t, called, "called")
	over()
	eventually(t, func() bool { return errors.Is(calls(), circuit.NoReservation) }, "closed")
}

// Of the relays that are not on the list, only a few are used at a time, and
// they are shown only tokens that name them; a relay on the list is used at the
// list's address.
func TestGuests(t *testing.T) {
	s := always(newScript)
	c := bare(t, s, entries(1)...)
	all := entries(maxGuests + 1)
	for _, e := range all[:maxGuests] {
		g, err := c.relayAt(e.Identity, e.Addrs[0])
		require.NoError(t, err)
		_, err = g.connected(t.Context())
		require.NoError(t, err)
		same, err := c.relayAt(e.Identity, e.Addrs[0])
		require.NoError(t, err)
		require.Same(t, g, same)
	}
	last := all[maxGuests]
	_, err := c.relayAt(last.Identity, last.Addrs[0])
	require.ErrorIs(t, err, errManyGuests)
	s.sessions[0].cancel()
	eventually(t, c.guests[0].unused, "gone")
	g, err := c.relayAt(last.Identity, last.Addrs[0])
	require.NoError(t, err)
	require.Len(t, c.States(), 1, "only relays on the list have a state")
	_, err = c.relayAt(last.Identity, netip.AddrPort{})
	require.ErrorIs(t, err, ErrNotListed)
	_, err = c.relayAt(last.Identity, netip.MustParseAddrPort("0.0.0.0:1"))
	require.Error(t, err)
	listed, err := c.relayAt(c.servers[0].Identity, last.Addrs[0])
	require.NoError(t, err)
	require.Same(t, c.servers[0], listed)

	named := token.Token{Relay: last.Identity}
	require.NoError(t, c.SetTokens(token.Token{}, named, token.Token{Relay: identity.New().Remote()}))
	shown, _ := g.tokens()
	require.Equal(t, []token.Token{named}, shown)
	shown, _ = listed.tokens()
	require.Len(t, shown, 3)
}
