package relay_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay"
)

func TestParseServers(t *testing.T) {
	one, other := identity.New().Remote(), identity.New().Remote()
	at := netip.MustParseAddrPort
	servers, err := relay.ParseServers(" " + one.String() + "@192.0.2.1:4001\n" + other.String() + "@[2001:db8::1]:4001 " + one.String() + "@192.0.2.2:4001 ")
	require.NoError(t, err)
	require.Equal(t, []relay.Server{
		{Identity: one, Addrs: []netip.AddrPort{at("192.0.2.1:4001"), at("192.0.2.2:4001")}},
		{Identity: other, Addrs: []netip.AddrPort{at("[2001:db8::1]:4001")}},
	}, servers)
	servers, err = relay.ParseServers(" ")
	require.NoError(t, err)
	require.Empty(t, servers)

	for _, wrong := range []string{"192.0.2.1:4001", one.String(), one.String() + "@192.0.2.1", one.String() + "@relay.example:4001", "x@192.0.2.1:4001"} {
		_, err := relay.ParseServers(one.String() + "@192.0.2.1:4001 " + wrong)
		require.ErrorContains(t, err, "KEY@IP:PORT")
		require.ErrorContains(t, err, wrong[:min(len(wrong), 20)])
	}
	_, err = relay.ParseServers(one.String() + "@0.0.0.0:4001")
	require.ErrorContains(t, err, "not a host's", "as Client.Set has it")
	_, err = relay.ParseServers(strings.Repeat(one.String()+"@192.0.2.1:4001 ", relay.MaxAddrs+1))
	require.Error(t, err)
}
