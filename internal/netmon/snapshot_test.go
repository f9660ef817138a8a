package netmon

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	macA = "02:00:00:00:00:0a"
	macB = "02:00:00:00:00:0b"
)

func gateway(addr, link string) Gateway { return Gateway{netip.MustParseAddr(addr), link} }

// TestFingerprint lists what is a change of the network, and what is not.
func TestFingerprint(t *testing.T) {
	home := func() Snapshot {
		eth := wired(2, "10.0.0.7/24", "fe80::7/64")
		eth.Routed[IPv4], eth.Gateways[IPv4] = true, gateway("10.0.0.254", macA)
		eth.Ups = 1
		wlan := wired(3, "10.1.0.7/24")
		wlan.Routed[IPv6], wlan.Gateways[IPv6] = true, gateway("fe80::1", "")
		down := wired(4, "10.2.0.7/24")
		down.Flags &^= net.FlagRunning
		port := wired(5, "fe80::9/64")
		port.Port = true
		return Snapshot{
			Interfaces: []Interface{eth, wlan, down, wired(6), port},
			Default:    [families]DefaultRoute{IPv4: {2, eth.Gateways[IPv4]}, IPv6: {3, wlan.Gateways[IPv6]}},
		}
	}
	for _, test := range []struct {
		name   string
		change func(s *Snapshot)
		want   Kind
	}{
		{"nothing", func(s *Snapshot) {}, 0},
		{"an address more", func(s *Snapshot) {
			s.Interfaces[0].Prefixes = wired(0, "10.0.0.7/24", "10.0.0.8/24", "fe80::7/64").Prefixes
		}, Address},
		{"an address less", func(s *Snapshot) { s.Interfaces[0].Prefixes = s.Interfaces[0].Prefixes[:1] }, Address},
		{"another address", func(s *Snapshot) { s.Interfaces[1].Prefixes = wired(0, "10.1.0.8/24").Prefixes }, Address},
		{"another length of a prefix", func(s *Snapshot) { s.Interfaces[1].Prefixes = wired(0, "10.1.0.7/16").Prefixes }, Address},
		{"a temporary address", func(s *Snapshot) { s.Interfaces[0].Temporary = wired(0, "2001:db8::5/64").Prefixes }, 0},
		{"MTU", func(s *Snapshot) { s.Interfaces[0].MTU = 1280 }, 0},
		{"the order", func(s *Snapshot) { slices.Reverse(s.Interfaces) }, 0},
		{"the name", func(s *Snapshot) { s.Interfaces[0].Name = "lan" }, Address},
		{"no carrier", func(s *Snapshot) { s.Interfaces[0].Flags &^= net.FlagRunning }, Address},
		{"switched off", func(s *Snapshot) { s.Interfaces[0].Flags &^= net.FlagUp }, Address},
		{"came up", func(s *Snapshot) { s.Interfaces[2].Flags |= net.FlagRunning }, Address},
		{"down and up", func(s *Snapshot) { s.Interfaces[0].Ups++ }, Address},
		{"gone", func(s *Snapshot) { s.Interfaces = s.Interfaces[1:] }, Address},
		{"one that was down is gone", func(s *Snapshot) { s.Interfaces = slices.Delete(s.Interfaces, 2, 3) }, 0},
		{"one without addresses", func(s *Snapshot) { s.Interfaces = append(s.Interfaces, wired(7)) }, 0},
		{"its first address", func(s *Snapshot) { s.Interfaces[3].Prefixes = wired(0, "10.9.0.1/24").Prefixes }, Address},
		{"a port of a bridge", func(s *Snapshot) {
			port := wired(7, "fe80::7/64")
			port.Port = true
			s.Interfaces = append(s.Interfaces, port)
		}, 0},
		{"became a port", func(s *Snapshot) { s.Interfaces[1].Port = true }, Address},
		{"a tunnel of ours", func(s *Snapshot) {
			ours := wired(7, "fd00::1/64")
			ours.Name, ours.Flags = "ours0", ours.Flags|net.FlagPointToPoint
			s.Interfaces = append(s.Interfaces, ours)
		}, 0},
		{"a tunnel of others", func(s *Snapshot) {
			vpn := wired(7, "10.8.0.2/32")
			vpn.Flags |= net.FlagPointToPoint
			s.Interfaces = append(s.Interfaces, vpn)
		}, Address},
		{"no router", func(s *Snapshot) {
			s.Interfaces[0].Routed[IPv4], s.Interfaces[0].Gateways[IPv4] = false, Gateway{}
			s.Default[IPv4] = DefaultRoute{}
		}, Route},
		{"another router", func(s *Snapshot) {
			s.Interfaces[0].Gateways[IPv4] = gateway("10.0.0.253", macA)
			s.Default[IPv4].Gateway = s.Interfaces[0].Gateways[IPv4]
		}, Route},
		{"another router with the address", func(s *Snapshot) { s.Interfaces[0].Gateways[IPv4].Link = macB }, Route},
		{"a router is known", func(s *Snapshot) {
			s.Interfaces[1].Gateways[IPv6].Link = macA
			s.Default[IPv6].Link = macA
		}, 0},
		{"a router is not known any more", func(s *Snapshot) {
			s.Interfaces[0].Gateways[IPv4].Link = ""
			s.Default[IPv4].Link = ""
		}, 0},
		{"the other interface is the default", func(s *Snapshot) { s.Default[IPv4] = DefaultRoute{Index: 3} }, Route},
		{"a default route without a router", func(s *Snapshot) { s.Interfaces[1].Routed[IPv4] = true }, Route},
		{"all new", func(s *Snapshot) { *s = Snapshot{} }, Address | Route},
	} {
		before, after := home(), home()
		test.change(&after)
		ignored := map[string]int{"ours0": 1}
		require.Equal(t, test.want, after.compare(&before, ignored), test.name)
		require.Equal(t, test.want, before.compare(&after, ignored), "%s, the other way round", test.name)
	}
}

// A router whose link-layer address is unknown for a while is compared with
// what it was before.
func TestRouterUnknown(t *testing.T) {
	state := func(link string) Snapshot {
		i := wired(2, "10.0.0.7/24")
		i.Routed[IPv4], i.Gateways[IPv4] = true, gateway("10.0.0.254", link)
		return Snapshot{Interfaces: []Interface{i}, Default: [families]DefaultRoute{{2, i.Gateways[IPv4]}, {}}}
	}
	for _, test := range []struct {
		links []string
		want  Kind // of the last step; the others change nothing
	}{
		{[]string{"", macA}, 0},
		{[]string{macA, "", macA}, 0},
		{[]string{macA, "", "", macB}, Route},
		{[]string{"", macA, macB}, Route},
	} {
		seen := state(test.links[0])
		for n, link := range test.links[1:] {
			now := state(link)
			now.remember(&seen)
			want := Kind(0)
			if n == len(test.links)-2 {
				want = test.want
			}
			require.Equal(t, want, now.compare(&seen, nil), "%q, step %d", test.links, n)
			seen = now
		}
	}
	// Another router's address is not mistaken for that of this one.
	before, now := state(macA), state("")
	now.Interfaces[0].Gateways[IPv4].Addr = netip.MustParseAddr("10.0.0.1")
	now.remember(&before)
	require.Empty(t, now.Interfaces[0].Gateways[IPv4].Link)
}

// The default route's interface comes first, that of IPv4 before that of IPv6,
// then others with a default route, then physical devices.
func TestRank(t *testing.T) {
	bridge, tunnel, six := wired(2, "172.17.0.1/16"), wired(9, "10.8.0.2/32"), wired(8)
	bridge.Physical, tunnel.Physical = false, false
	wlan := wired(7, "10.1.0.2/24")
	wlan.Routed[IPv4] = true
	s := Snapshot{
		Interfaces: []Interface{wired(1, "10.0.0.2/24"), bridge, wlan, six, tunnel, wired(3, "10.0.0.9/24", "10.0.0.1/24")},
		Default:    [families]DefaultRoute{IPv4: {Index: 9}, IPv6: {Index: 8}},
	}
	s.arrange()
	var order []int
	var ranks []Rank
	for _, i := range s.Interfaces {
		order, ranks = append(order, i.Index), append(ranks, i.Rank)
	}
	require.Equal(t, []int{9, 8, 7, 1, 3, 2}, order)
	require.Equal(t, []Rank{HasDefaultRoute, HasDefaultRoute, HasDefaultRoute, IsPhysical, IsPhysical, IsOther}, ranks)
	require.Equal(t, "10.0.0.1/24", s.Interfaces[4].Prefixes[0].String())
}
