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
)

// Devices of two accounts that track each other connect through a relay. To a
// stranger of a third account, they look absent; to each other, too, once one
// no longer tracks the other.
func TestCallersOfOtherAccounts(t *testing.T) {
	r := startPaid(t, relayserver.Limits{})
	a, b, c := start(t, Config{Only: true}, r.entry()), start(t, Config{Only: true}, r.entry()), start(t, Config{Only: true}, r.entry())
	for i, n := range []*node{a, b, c} {
		require.NoError(t, n.relays.SetTokens(r.pass(t, n.Identity(), byte(1+i))))
		n.ready(t, 1)
	}
	calls := func(from, to *node) error {
		way, err := router{from.relays}.Circuit(within(t), r.Identity(), netip.AddrPort{}, to.Identity(), 2)
		if err == nil {
			way.Close()
		}
		return err
	}
	require.ErrorIs(t, calls(a, b), circuit.NoReservation)
	peer, _ := know(t, a, b)
	eventually(t, func() bool {
		s, err := peer.NewStream(within(t))
		if err != nil {
			return false
		}
		defer s.Close()
		echo(t, s, 1<<16)
		return true
	}, "called")
	require.Equal(t, p2p.Relay, peer.Path().Kind)
	eventually(t, func() bool { return calls(b, a) == nil }, "called back")
	for _, n := range []*node{a, b} {
		require.ErrorIs(t, calls(c, n), circuit.NoReservation)
	}
	b.scope.Untrack(a.Identity())
	eventually(t, func() bool { return errors.Is(calls(a, b), circuit.NoReservation) }, "closed")
}

// A relay is told of at most as many peers as it accepts, once, and of none if
// there are none.
func TestCallersAreBounded(t *testing.T) {
	s := always(newScript)
	c := bare(t, s, entries(1)...)
	g, err := c.relayAt(c.servers[0].Identity, netip.AddrPort{})
	require.NoError(t, err)
	require.Equal(t, circuit.Callers{Rule: circuit.CallersAccount}, c.callers())
	var all []identity.RemoteIdentity
	for range 2 * circuit.MaxCallers {
		all = append(all, identity.New().Remote())
	}
	c.tracked = func() []identity.RemoteIdentity { return all }
	m := c.callers()
	require.Equal(t, circuit.CallersListed, m.Rule)
	require.Len(t, m.Append(nil), 3+8*circuit.MaxCallers)

	f := &written{}
	l := newLink(g, nil)
	l.access = f
	l.sayCallers()
	l.sayCallers()
	require.Equal(t, [][]byte{m.Append(nil)}, f.all)
	all = nil
	l.sayCallers()
	l.sayCallers()
	require.Len(t, f.all, 2)
	g.guest = true
	all = append(all, identity.New().Remote())
	l.sayCallers()
	require.Len(t, f.all, 2, "a relay that is not on the list is not told")
}

// written is a stream that records the data written to it.
type written struct {
	oneWay
	all [][]byte
}

func (w *written) Write(b []byte) (int, error) {
	w.all = append(w.all, b)
	return len(b), nil
}
