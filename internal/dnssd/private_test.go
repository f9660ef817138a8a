package dnssd

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func prefixes(list string) (all []netip.Prefix) {
	for _, s := range strings.Fields(list) {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// Of an interface's addresses, a private announcement has those that reveal the
// least.
func TestPrivateAddresses(t *testing.T) {
	const (
		v4     = "10.0.0.1/24"
		eui    = "2001:db8::5054:ff:fe00:1/64"
		stable = "2001:db8::1:2:3:4/64"
		linked = "fe80::5054:ff:fe00:1/64"
		opaque = "fe80::1:2:3:4/64"
		temp   = "2001:db8::a:b:c:d/64"
		ula    = "fd00::5054:ff:fe00:1/64"
	)
	for _, test := range []struct{ addrs, temporary, want string }{
		{v4, "", v4},
		{v4 + " " + eui + " " + linked, "", v4},
		{v4 + " " + stable + " " + eui + " " + opaque, "", v4 + " " + stable + " " + opaque},
		{v4 + " " + stable + " " + eui + " " + opaque, temp, temp + " " + v4 + " " + opaque},
		{eui + " " + ula + " " + linked, temp, temp},
		{eui + " " + linked, "", eui + " " + linked},
		{linked, "", linked},
		{opaque + " " + eui, "", opaque},
		{"10.0.0.1/24 10.0.0.2/24 10.0.0.3/24 10.0.0.4/24 " + opaque, "", "10.0.0.1/24 10.0.0.2/24 10.0.0.3/24 " + opaque},
		{"10.0.255.254/8", "", "10.0.255.254/8"},
	} {
		ifc := Interface{Addrs: prefixes(test.addrs), Temporary: prefixes(test.temporary)}
		require.Equal(t, prefixes(test.want), ifc.private(), test)
		require.Equal(t, prefixes(test.addrs), ifc.Addrs, "the interface itself must not change")
	}
}

// An entry belongs to the networks in which it was announced, which routers
// prove.
func TestBelongs(t *testing.T) {
	gateway := netip.MustParseAddr("10.0.0.254")
	home := Interface{Index: 2, Name: "eth0", Addrs: prefixes("10.0.0.1/24"), Gateway: gateway, GatewayLink: "02:01"}
	with := func(change func(*Interface)) *Interface {
		o := home
		change(&o)
		return &o
	}
	en := &entry{}
	require.False(t, en.belongs(&home))
	en.leave(&home)
	require.True(t, en.belongs(&home))
	require.True(t, en.belongs(with(func(i *Interface) { i.Addrs = prefixes("10.0.0.9/24 2001:db8::1/64") })))
	for _, change := range []func(*Interface){
		func(i *Interface) { i.GatewayLink = "02:02" },
		func(i *Interface) { i.GatewayLink = "" }, // not known yet
		func(i *Interface) { i.Gateway = netip.Addr{} },
		func(i *Interface) { i.Addrs = prefixes("10.0.1.1/24") },
		func(i *Interface) { i.Name, i.Index = "wlan0", 3 },
	} {
		require.False(t, en.belongs(with(change)))
	}
	require.True(t, en.mayBelong(with(func(i *Interface) { i.GatewayLink = "" })))
	require.False(t, en.mayBelong(with(func(i *Interface) { i.GatewayLink = "02:02" })))
	require.False(t, en.mayBelong(with(func(i *Interface) { i.Addrs, i.GatewayLink = prefixes("10.0.1.1/24"), "" })))
	en = &entry{}
	unknown := with(func(i *Interface) { i.GatewayLink = "" })
	en.leave(unknown)
	require.False(t, en.belongs(&home))
	require.False(t, en.belongs(unknown), "nothing proves it")
	require.False(t, en.mayBelong(unknown))
	for range 100 {
		en.leave(&home)
	}
	require.Len(t, en.places, maxPlaces)
}
