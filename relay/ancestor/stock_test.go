package ancestor

import (
	"context"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/relaytest"
)

// A stock is a node like those of the first implementation.
type stock struct {
	*relaytest.Node
	id     identity.RemoteIdentity
	served chan map[string]string
}

func startStock(t testing.TB, r *relaytest.Relay, early bool) *stock {
	t.Helper()
	n := relaytest.StartNode(t, r.Addr(), early)
	return &stock{n, n.Self, n.Served}
}

// reserve makes a reservation, so that the node can be called.
func (n *stock) reserve(t testing.TB) {
	t.Helper()
	require.NoError(t, n.Reserve(within(t)))
}

// call connects to one of our nodes through the relay.
func (n *stock) call(t testing.TB, to identity.RemoteIdentity) (network.Conn, error) {
	t.Helper()
	return n.Call(within(t), to)
}

// open opens a stream to one of our nodes that is connected already.
func (n *stock) open(t testing.TB, to identity.RemoteIdentity) (s network.Stream, told map[string]string) {
	t.Helper()
	s, told, err := n.Open(within(t), to)
	require.NoError(t, err)
	return s, told
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
