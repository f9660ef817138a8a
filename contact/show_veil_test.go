package contact_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
)

// known lets a node know another one at an address, as a discovery does that
// hides nothing.
type known struct {
	id identity.RemoteIdentity
	at netip.AddrPort
}

func (*known) Name() string { return "known" }

func (k *known) Run(ctx context.Context, s *p2p.Scope) error {
	if err := s.Discovered(k.id, nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: k.at}}); err != nil {
		return err
	}
	s.Ready()
	<-ctx.Done()
	return nil
}

// stranger starts a node that hides nothing, and knows another node at an
// address.
func stranger(t testing.TB, of *node, at netip.AddrPort) *p2p.P2P {
	t.Helper()
	s, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{quic.New(quic.Config{DialTimeout: time.Minute}), &known{of.Identity(), at}}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	return s
}

// The mode is switched while the node runs. Each time, the connections end and
// the node has another address. After the second time, its contact finds it
// again.
func TestSwitch(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a, b := pair(t, l, p2p.Config{Handler: p2p.HandlerFunc(echo)}, p2p.Config{})
	a.finds(t, b)
	b.finds(t, a)
	hidden := a.addr(t)

	a.contacts.Veil(false)
	until(t, "the contact's connection ends", func() bool {
		peer, ok := b.Peer(a.Identity())
		return !ok || !peer.Connected()
	})
	_, shown, _ := a.contacts.Show()
	require.False(t, shown)
	until(t, "an address", func() bool { _, ok := a.listener.Port(); return ok })
	open := a.addr(t)
	require.NotEqual(t, hidden, open)
	s := stranger(t, a, open)
	peer, _ := s.Peer(a.Identity())
	require.Equal(t, "hello", says(t, peer, "hello"))
	require.NotEmpty(t, a.Listeners()[0].Addrs)

	a.contacts.Veil(true)
	require.False(t, connected(a.P2P, s.Identity()), "the connection must have ended when Veil returns")
	until(t, "the stranger notices", func() bool { return !peer.Connected() })
	shows(t, a)
	require.Empty(t, a.Listeners()[0].Addrs)
	require.Empty(t, a.listener.Addrs())
	a.finds(t, b)
	b.finds(t, a)
}

// A node in the mode shows no address. When its contact hook is unregistered,
// its connections end, and it knows nobody; when the hook is registered again,
// the node finds its contact again.
func TestVeilBeforeRun(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a, b := pair(t, l, p2p.Config{}, p2p.Config{})
	a.finds(t, b)
	require.Empty(t, a.Listeners()[0].Addrs)
	require.NoError(t, a.Unregister(t.Context(), a.contacts))
	until(t, "the connection ends with the hook", func() bool { return !connected(a.P2P, b.Identity()) && !connected(b.P2P, a.Identity()) })
	_, shown, _ := a.contacts.Show()
	require.False(t, shown)
	require.Empty(t, a.Peers())
	require.NoError(t, a.Register(t.Context(), a.contacts))
	a.finds(t, b)
}
