package faulttest

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A Finder is a hook that finds what the test wants. The zero value is ready to
// use.
type Finder struct {
	Scope *p2p.Scope // set once the hook is registered
}

// Name implements [p2p.Hook].
func (*Finder) Name() string { return "finder" }

// Run implements [p2p.Hook].
func (f *Finder) Run(ctx context.Context, s *p2p.Scope) error {
	f.Scope = s
	s.Ready()
	<-ctx.Done()
	return nil
}

// Finds has the node discover a peer at addresses, and returns the peer.
func (f *Finder) Finds(t testing.TB, id identity.RemoteIdentity, name string, at ...netip.AddrPort) *p2p.Peer {
	t.Helper()
	var via []p2p.Candidate
	for _, a := range at {
		via = append(via, p2p.Candidate{Kind: p2p.Direct, Addr: a, Version: 2})
	}
	require.NoError(t, f.Scope.Discovered(id, map[string]string{"name": name}, via))
	peer, ok := f.Scope.Node().Peer(id)
	require.True(t, ok)
	return peer
}
