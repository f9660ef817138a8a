package mdns

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// mute starts a node on a link that has a discovery, and no listener.
func mute(t *testing.T, link *dnssdtest.Link, mc Config) *member {
	t.Helper()
	m := &member{host: dnssdtest.NewHost()}
	m.host.Plug(link, dnssd.Interface{
		Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true, Addrs: []netip.Prefix{netip.PrefixFrom(addrOf(1), 24)},
	})
	mc.network = m.host
	m.discovery = New(mc)
	var err error
	m.P2P, err = p2p.Start(t.Context(), p2p.Config{
		App: "sd", Logger: slog.New(slog.NewTextHandler(m, nil)), Hooks: []p2p.Hook{m.discovery},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Shutdown(context.Background())) })
	return m
}

// all returns the lines that were logged.
func (m *member) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.lines)
}

// A node without a listener warns once, after 2 s, that no other node can find
// it, and reports once when it has a listener. It finds other nodes.
func TestNothingToAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		m := mute(t, link, Config{})
		other := join(t, link, 2, p2p.Config{}, Config{})
		pass(1900 * time.Millisecond)
		require.Empty(t, m.all())
		pass(24 * time.Hour)
		require.Equal(t, 1, m.logged("nobody finds this node"))
		require.Equal(t, 1, m.logged("level=WARN"))
		require.Len(t, m.Peers(), 1)
		require.Empty(t, other.Peers())
		for range 3 { // also when switched off and on again
			m.discovery.SetMode(Disabled)
			pass(time.Minute)
			m.discovery.SetMode(Enabled)
			pass(time.Minute)
		}
		require.Len(t, m.all(), 1)

		require.NoError(t, m.Register(context.Background(), ear{}))
		pass(time.Minute)
		require.Equal(t, 1, m.logged("is announced"))
		require.Len(t, other.Peers(), 1)
		m.discovery.SetMode(Disabled)
		pass(time.Minute)
		m.discovery.SetMode(Enabled)
		pass(time.Hour)
		require.Len(t, m.all(), 2)
	})
}

// Nothing is logged about a listener that comes a little later, about one that
// goes after a while, or while the discovery is off.
func TestListenerComesALittleLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mute(t, dnssdtest.NewLink(), Config{})
		pass(10 * time.Millisecond)
		require.NoError(t, m.Register(context.Background(), ear{}))
		pass(time.Hour)
		require.NoError(t, m.Unregister(context.Background(), ear{}))
		pass(time.Hour)
		require.Empty(t, m.all())
	})
	synctest.Test(t, func(t *testing.T) {
		m := mute(t, dnssdtest.NewLink(), Config{Mode: Disabled})
		pass(time.Hour)
		require.Empty(t, m.all())
	})
}

// A missing interface is also logged only once, however often discovery is
// switched on.
func TestMissingInterfaceIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := join(t, dnssdtest.NewLink(), 1, p2p.Config{}, Config{Interfaces: []string{"wlan0"}})
		for range 3 {
			pass(time.Minute)
			m.discovery.SetMode(Disabled)
			pass(time.Minute)
			m.discovery.SetMode(Enabled)
		}
		require.Equal(t, 1, m.logged("missing=wlan0"))
		require.Len(t, m.all(), 1)
	})
}
