package relay

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
)

// If only contacts may find a node, a relay and the node's callers still know
// its identity, as always; only a contact learns its address, and gets a direct
// connection.
func TestContactsOnly(t *testing.T) {
	relay := startStock(t)
	var nodes [4]*node
	for i := range nodes {
		nodes[i] = start(t, Config{private: true}, relay.Server)
	}
	a, b, c, d := nodes[0], nodes[1], nodes[2], nodes[3]
	contacts := contact.New(contact.Config{Listener: a.listener})
	require.NoError(t, contacts.Set([]identity.RemoteIdentity{b.Identity()}))
	require.NoError(t, a.Register(within(t), contacts))
	a.ready(t, 1)
	contacts.Veil(true) // while the node has a relay
	a.ready(t, 1)
	toB, _ := know(t, a, b)
	toC, _ := know(t, a, c) // as another member of a library, for example
	toD, _ := know(t, a, d)
	for _, n := range nodes[1:] {
		n.ready(t, 1)
	}
	fromB, _ := know(t, b, a)
	fromC, _ := know(t, c, a)
	for _, peer := range []*p2p.Peer{fromB, fromC, toD} { // d is the callee, and would begin
		eventually(t, func() bool {
			s, err := peer.NewStream(within(t))
			if err != nil {
				return false // the relay may not know yet that the node is back
			}
			defer s.Close()
			echo(t, s, 1<<10)
			return true
		}, "called")
	}
	eventually(t, func() bool { return toB.Path().Kind == p2p.Direct }, "a contact")
	for range 20 { // an attempt would have begun meanwhile
		for _, peer := range []*p2p.Peer{toC, toD} {
			require.Equal(t, p2p.Relay, peer.Path().Kind)
			s, err := peer.NewStream(within(t))
			require.NoError(t, err)
			echo(t, s, 1<<10)
			s.Close()
		}
	}
	told := map[identity.RemoteIdentity]bool{}
	for _, up := range a.relays.Upgrades() {
		told[up.Peer] = told[up.Peer] || len(up.Told) > 0
	}
	require.Equal(t, map[identity.RemoteIdentity]bool{b.Identity(): true, c.Identity(): false, d.Identity(): false}, told)
	require.Empty(t, a.Listeners()[0].Addrs)
}
