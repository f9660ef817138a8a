package quic

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netmon"
)

// The gateway is that of the IPv4 default route in use, as long as the listener
// runs and uses IPv4.
func TestGateway(t *testing.T) {
	t.Parallel()
	n := &fakeNetwork{}
	m := newMovingWith(t, Config{monitor: netmon.New(n)})
	l := m.ours.endpoint.listener
	require.False(t, seam{l}.Gateway().IsValid())
	router := netip.MustParseAddr("192.0.2.254")
	n.change(func() {
		n.state.Default[netmon.IPv6] = netmon.DefaultRoute{Index: 1, Gateway: netmon.Gateway{Addr: netip.MustParseAddr("fe80::1")}}
	})
	require.False(t, seam{l}.Gateway().IsValid())
	n.change(func() {
		n.state.Default[netmon.IPv4] = netmon.DefaultRoute{Index: 1, Gateway: netmon.Gateway{Addr: router}}
	})
	require.Equal(t, router, seam{l}.Gateway())
	l.SetIPv4(false)
	require.False(t, seam{l}.Gateway().IsValid())
	l.SetIPv4(true)
	require.Equal(t, router, seam{l}.Gateway())
	require.False(t, seam{New(Config{})}.Gateway().IsValid(), "the listener does not run")
}
