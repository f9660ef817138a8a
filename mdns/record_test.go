package mdns

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/p2ptest"
)

// A node's metadata is announced completely, up to the largest size, with the
// node's own fields first.
func TestFullMetadata(t *testing.T) {
	n, err := p2p.Start(t.Context(), p2p.Config{
		App: "test", Name: "n", Version: "1", Hooks: []p2p.Hook{p2ptest.NewNetwork(p2ptest.Config{}).Listener(p2ptest.ListenerConfig{})},
	})
	require.NoError(t, err)
	defer n.Shutdown(context.Background())
	require.NoError(t, n.UpdateMetadata(func(m map[string]string) {
		for i := 0; len(m) < 128; i++ {
			m[fmt.Sprint("a", i)] = "v"
		}
	}))
	announced, err := services(n)
	require.NoError(t, err)
	require.Len(t, announced, 1)
	require.Equal(t, n.Identity().String(), announced[0].Instance)
	require.Len(t, announced[0].TXT, 129)
	require.Equal(t, "name=n", announced[0].TXT[0])
	require.Contains(t, announced[0].TXT[:6], "sdp2p=2")
	engine, err := dnssd.New(dnssd.Config{Service: "_test._udp"})
	require.NoError(t, err)
	require.NoError(t, engine.Publish(announced...))

	metadata, candidates := parseInstance(dnssd.Instance{
		Name: announced[0].Instance, TXT: announced[0].TXT,
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1")}, OffLink: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:1")},
		LinkLocal: []netip.AddrPort{netip.MustParseAddrPort("[fe80::1%lo]:1")},
	})
	require.Equal(t, n.Metadata(), metadata)
	require.Len(t, candidates, 3)
	require.Equal(t, "[fe80::1%lo]:1", candidates[2].Addr.String(), "a link-local address is the last candidate")
	require.Equal(t, 2, candidates[0].Version)
}
