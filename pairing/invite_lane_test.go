package pairing_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tcp"
)

// A ticket names the port of lanes, by which devices pair where UDP is blocked:
// the inviter accepts strangers there for as long as the ticket is valid.
func TestLane(t *testing.T) {
	t.Parallel()
	lanes := tcp.New(tcp.Config{})
	a := newDevice().start(t, "Alice's", quic.New(quic.Config{}), lanes).create(t)
	b := newDevice().start(t, "Bob's", quic.New(quic.Config{}), tcp.New(tcp.Config{}))
	i := a.inviteAt(t, netip.MustParseAddrPort("127.0.0.1:1")) // nothing answers over UDP
	ticket, err := pairing.ParseTicket(i.Ticket().Text())
	require.NoError(t, err)
	port, ok := lanes.Port()
	require.True(t, ok)
	require.Equal(t, port, ticket.Lane)
	require.NoError(t, b.join(t.Context(), ticket, b.yes))
	_, err = i.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, a.asked[0].Code, b.asked[0].Code)
	members(t, a, b)
	b.talks(t, a)
}
