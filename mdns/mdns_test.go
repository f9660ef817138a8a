package mdns_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

// patience bounds the waits of tests; nothing takes that long.
const patience = time.Minute

// loopback returns the name of the loopback interface: tests send nothing on
// any other.
func loopback(t testing.TB) string {
	t.Helper()
	all, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			return i.Name
		}
	}
	t.Skip("this host has no loopback interface")
	return ""
}

type node struct {
	*p2p.P2P
	discovery *mdns.Discovery
}

// newApp returns an app name that no other test uses, since all tests on this
// host hear each other.
func newApp() string { return fmt.Sprintf("m%x", rand.N(1<<40)) }

func start(t testing.TB, app string, cfg p2p.Config, mc mdns.Config) *node {
	t.Helper()
	mc.Interfaces = []string{loopback(t)}
	n := &node{discovery: mdns.New(mc)}
	cfg.App = app
	cfg.Hooks = []p2p.Hook{quic.New(quic.Config{}), n.discovery}
	var err error
	n.P2P, err = p2p.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, n.Shutdown(ctx))
	})
	return n
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// until waits for a condition whose changes events report.
func until(t testing.TB, n *node, holds func() bool) {
	t.Helper()
	for range n.Watch(within(t)) {
		if holds() {
			return
		}
	}
	t.Fatal("it did not become true")
}

func (n *node) sees(other *node) bool {
	peer, ok := n.Peer(other.Identity())
	return ok && len(peer.Info().DiscoveredBy) == 1
}

// Two nodes on one host find each other, talk, follow changes, and notice when
// the other one goes.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	app := newApp()
	echo := p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error { _, err := io.Copy(s, s); return err })
	a := start(t, app, p2p.Config{Name: "a", Handler: echo}, mdns.Config{})
	b := start(t, app, p2p.Config{Name: "Zoë \\ \"b\" =", Handler: echo}, mdns.Config{})
	until(t, a, func() bool { return a.sees(b) })
	until(t, b, func() bool { return b.sees(a) })
	peer, _ := a.Peer(b.Identity())
	require.Equal(t, "Zoë \\ \"b\" =", peer.Name())
	require.False(t, peer.Verified())
	require.Equal(t, b.Metadata(), peer.Info().Metadata)
	require.NotEmpty(t, peer.Info().Candidates)
	require.Equal(t, 2, peer.Info().Candidates[0].Version)

	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(s, make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, s.Close())

	c := start(t, app, p2p.Config{Name: "c"}, mdns.Config{})
	until(t, c, func() bool { return c.sees(b) })
	seen, _ := c.Peer(b.Identity())
	require.NoError(t, b.UpdateMetadata(func(m map[string]string) { m["name"] = "other" }))
	until(t, c, func() bool { return seen.Name() == "other" })

	require.NoError(t, b.Shutdown(within(t)))
	until(t, a, func() bool { return !a.sees(b) })
	until(t, c, func() bool { return !c.sees(b) })
}

// The mode is switched while the node runs.
func TestModes(t *testing.T) {
	t.Parallel()
	app := newApp()
	a := start(t, app, p2p.Config{}, mdns.Config{})
	b := start(t, app, p2p.Config{}, mdns.Config{Mode: mdns.Disabled})
	require.Equal(t, mdns.Disabled, b.discovery.Mode())
	b.discovery.SetMode(mdns.Enabled)
	until(t, a, func() bool { return a.sees(b) })
	until(t, b, func() bool { return b.sees(a) })
	b.discovery.SetMode(mdns.Disabled)
	until(t, a, func() bool { return !a.sees(b) })
	until(t, b, func() bool { return !b.sees(a) })
	b.discovery.SetMode(mdns.Enabled)
	until(t, a, func() bool { return a.sees(b) })
	until(t, b, func() bool { return b.sees(a) })
}
