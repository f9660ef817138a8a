package debugpage

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
)

// A finder finds a thousand peers.
type finder struct{}

func (finder) Name() string { return "finder" }

func (finder) Run(ctx context.Context, s *p2p.Scope) error {
	for i := range 1000 {
		at := p2p.Candidate{Kind: p2p.Direct, Addr: netip.MustParseAddrPort("192.0.2.1:7373"), Version: 2}
		if err := s.Discovered(identity.New().Remote(), map[string]string{"name": fmt.Sprint("peer ", i)}, []p2p.Candidate{at}); err != nil {
			return err
		}
	}
	s.Ready()
	<-ctx.Done()
	return nil
}

// BenchmarkLook looks at a node with a thousand peers, for a browser that
// already has the whole state.
func BenchmarkLook(b *testing.B) {
	node := p2ptest.NewNetwork(p2ptest.Config{}).Start(b, p2p.Config{App: "test", Hooks: []p2p.Hook{finder{}}})
	s := newSent()
	messages, err := s.difference(node.State())
	require.NoError(b, err)
	require.Greater(b, len(messages), 1)
	b.ReportAllocs()
	for b.Loop() {
		messages, err := s.difference(node.State())
		require.NoError(b, err)
		require.Len(b, messages, 1)
	}
}
