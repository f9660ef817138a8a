package quic

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// A finder is a hook that discovers the peers that a test chooses.
type finder struct{ scope chan *p2p.Scope }

func (f finder) Name() string { return "finder" }

func (f finder) Run(ctx context.Context, s *p2p.Scope) error {
	f.scope <- s
	s.Ready()
	<-ctx.Done()
	return nil
}

// A frugal node closes a connection sooner if the peer can dial again.
func TestFrugal(t *testing.T) {
	t.Parallel()
	start := func(cfg Config) (*p2p.P2P, *Listener, *p2p.Scope) {
		cfg.DialTimeout, cfg.Limits = time.Minute, Limits{StrangerIdle: -1}
		l, f := New(cfg), finder{make(chan *p2p.Scope, 1)}
		node, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{l, f}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, node.Shutdown(context.Background())) })
		return node, l, <-f.scope
	}
	a, la, finds := start(Config{Frugal: true})
	b, lb, _ := start(Config{})
	la.running().scope.Track(b.Identity())
	lb.running().scope.Track(a.Identity())
	port, _ := lb.Port()
	via := []p2p.Candidate{{Kind: p2p.Direct, Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}}
	raw, err := la.Dial(t.Context(), b.Identity(), via)
	require.NoError(t, err)
	defer raw.Reset(p2p.ErrCanceled)
	ours := la.running().best(b.Identity())
	<-ours.known
	idle := func(c *conn) time.Duration {
		c.mu.Lock()
		defer c.mu.Unlock()
		d, ends := c.patience()
		require.True(t, ends)
		return d
	}
	require.Equal(t, defaultIdleTimeout, idle(ours), "the peer may have no candidate of this node")
	require.NoError(t, finds.Discovered(b.Identity(), nil, via))
	require.Equal(t, frugalIdleTimeout, idle(ours))
	require.Eventually(t, func() bool { return lb.running().best(a.Identity()) != nil }, time.Minute, time.Millisecond)
	require.Equal(t, defaultIdleTimeout+idleGrace, idle(lb.running().best(a.Identity())))
}
