package reach

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var kinds = map[string]Kind{"physical": Physical, "virtual": Virtual, "inner": Inner, "point-to-point": PointToPoint, "loopback": Loopback}

// host parses a host such as "physical 192.168.1.5/24 fd00::5/64, inner
// 172.17.0.1/16".
func host(t *testing.T, interfaces, sources string) (h Host) {
	for text := range strings.SplitSeq(interfaces, ",") {
		var i Interface
		for n, f := range strings.Fields(text) {
			if n > 0 {
				i.Addrs = append(i.Addrs, netip.MustParsePrefix(f))
				continue
			}
			require.Contains(t, kinds, f)
			i.Kind = kinds[f]
		}
		h.Interfaces = append(h.Interfaces, i)
	}
	for _, f := range strings.Fields(sources) {
		h.Sources = append(h.Sources, netip.MustParseAddr(f))
	}
	return h
}

func TestAddrs(t *testing.T) {
	const (
		lo      = "loopback 127.0.0.1/8 ::1/128, "
		plain   = lo + "physical 192.168.1.5/24 fd00::5/64 2001:db8:1::5/64 fe80::1/64, inner 172.17.0.1/16"
		bridges = "inner 172.17.0.1/16, inner 172.18.0.1/16, inner 172.19.0.1/16, inner 172.20.0.1/16, inner 172.21.0.1/16"
		bridge6 = "inner 172.17.0.1/16 fd00:1::1/64, inner 172.18.0.1/16 fd00:2::1/64"
		both    = "0.0.0.0:1 [::]:2"
	)
	for name, test := range map[string]struct{ interfaces, sources, listening, want string }{
		"all interfaces": {plain, "192.168.1.5", both, "192.168.1.5:1 [fd00::5]:2 [2001:db8:1::5]:2 172.17.0.1:1"},
		"IPv4 only":      {plain, "192.168.1.5", "0.0.0.0:1", "192.168.1.5:1 172.17.0.1:1"},
		"IPv6 only":      {plain, "192.168.1.5", "[::]:2", "[fd00::5]:2 [2001:db8:1::5]:2"},
		"IPv6's default": {plain, "192.168.1.5 2001:db8:1::5", both, "192.168.1.5:1 [2001:db8:1::5]:2 [fd00::5]:2 172.17.0.1:1"},
		"one address":    {plain, "", "192.168.1.5:1", "192.168.1.5:1"},
		"4in6":           {plain, "", "[::ffff:192.168.1.5]:1", "192.168.1.5:1"},
		"twice":          {plain, "", "0.0.0.0:1 192.168.1.5:1", "192.168.1.5:1 172.17.0.1:1"},
		"two ports":      {"physical 10.0.0.1/8", "", "0.0.0.0:1 0.0.0.0:2", "10.0.0.1:1 10.0.0.1:2"},
		"not the host's": {plain, "", "203.0.113.5:1 0.0.0.0:1", "192.168.1.5:1 203.0.113.5:1 172.17.0.1:1"},

		"bridges first, default behind":  {bridges + ", physical 192.168.1.20/24", "192.168.1.20", both, "192.168.1.20:1 172.17.0.1:1 172.18.0.1:1 172.19.0.1:1"},
		"bridges first, no default":      {bridges + ", physical 192.168.1.20/24", "", both, "192.168.1.20:1 172.17.0.1:1 172.18.0.1:1 172.19.0.1:1"},
		"bridges first, not a device":    {bridges + ", virtual 192.168.1.20/24", "", both, "192.168.1.20:1 172.17.0.1:1 172.18.0.1:1 172.19.0.1:1"},
		"bridges with IPv6":              {bridge6 + ", physical 192.168.1.20/24 2001:db8:1::20/64", "192.168.1.20 2001:db8:1::20", both, "192.168.1.20:1 [2001:db8:1::20]:2 172.17.0.1:1 [fd00:1::1]:2"},
		"public default, bridges":        {bridges + ", physical 198.51.100.7/24", "198.51.100.7", both, "198.51.100.7:1 172.17.0.1:1 172.18.0.1:1 172.19.0.1:1"},
		"a bridge that all leaves by":    {"inner 10.0.0.1/8, physical 192.168.1.5/24", "10.0.0.1", both, "10.0.0.1:1 192.168.1.5:1"},
		"two devices, the second leads":  {"physical 192.168.1.5/24, physical 10.0.0.5/8", "10.0.0.5", both, "10.0.0.5:1 192.168.1.5:1"},
		"private before public":          {"physical 203.0.113.5/24, physical 10.0.0.5/8", "", both, "10.0.0.5:1 203.0.113.5:1"},
		"a VPN beside":                   {"point-to-point 10.8.0.2/32, physical 192.168.1.5/24", "192.168.1.5", both, "192.168.1.5:1 10.8.0.2:1"},
		"a VPN beside bridges":           {bridges + ", point-to-point 10.8.0.2/32, physical 192.168.1.5/24", "192.168.1.5", both, "192.168.1.5:1 10.8.0.2:1 172.17.0.1:1 172.18.0.1:1"},
		"a VPN that takes all":           {"point-to-point 10.8.0.2/32, physical 192.168.1.5/24, " + bridges, "10.8.0.2", both, "192.168.1.5:1 10.8.0.2:1 172.17.0.1:1 172.18.0.1:1"},
		"a VPN in a container":           {"point-to-point 10.8.0.2/32, virtual 172.17.0.2/16", "10.8.0.2", both, "172.17.0.2:1 10.8.0.2:1"},
		"a modem's link alone":           {lo + "point-to-point 100.64.0.2/32", "100.64.0.2", both, "100.64.0.2:1"},
		"IPv4 has places that IPv6 left": {"physical 10.0.0.1/8 10.0.0.2/8 10.0.0.3/8 10.0.0.4/8 fd00::1/64", "", both, "10.0.0.1:1 [fd00::1]:2 10.0.0.2:1 10.0.0.3:1"},
		"half of the places":             {"physical 10.0.0.1/8 10.0.0.2/8 10.0.0.3/8, inner fd00::1/64 fd00::2/64", "", both, "10.0.0.1:1 10.0.0.2:1 [fd00::1]:2 [fd00::2]:2"},

		"loopback alone":      {lo, "", both, ""},
		"bound to loopback":   {plain, "", "127.0.0.1:1", "127.0.0.1:1"},
		"another of loopback": {plain, "", "127.0.0.2:1", "127.0.0.2:1"},
		"loopback is last":    {plain, "", "[::1]:3 0.0.0.0:1", "192.168.1.5:1 172.17.0.1:1 [::1]:3"},
		"link-local alone":    {"physical fe80::1/64 169.254.1.1/16", "fe80::1", both, ""},
		"bound to link-local": {"physical fe80::1/64", "", "[fe80::1]:2 169.254.1.1:1", ""},
		"zone":                {plain, "", "[fd00::5%eth0]:2", ""},
		"no port":             {plain, "", "192.168.1.5:0 0.0.0.0:0", ""},
		"nothing":             {plain, "", "", ""},
		"no interfaces":       {"", "", both, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := Host{}
			if test.interfaces != "" {
				h = host(t, strings.TrimSuffix(test.interfaces, ", "), test.sources)
			}
			var listening []netip.AddrPort
			for _, a := range strings.Fields(test.listening) {
				listening = append(listening, netip.MustParseAddrPort(a))
			}
			var got []string
			for _, a := range h.Addrs(listening, 4) {
				got = append(got, a.String())
			}
			require.Equal(t, test.want, strings.Join(got, " "))
		})
	}
}

// The addresses that are used to find the route to the world are in none of the
// host's networks.
func TestSources(t *testing.T) {
	for name, test := range map[string]struct{ interfaces, asked string }{
		"as usual":                {"physical 192.168.1.5/24 fd00::5/64", "203.0.113.1 2001:db8::1"},
		"networks of tests":       {"physical 203.0.113.5/24 192.0.2.5/24 2001:db8::5/64", "198.51.100.1 3fff::1"},
		"all of IPv4's are taken": {"physical 203.0.113.5/24 192.0.2.5/24 198.51.100.7/24", "2001:db8::1"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			own := netip.MustParseAddr("192.168.1.5")
			got := host(t, test.interfaces, "").sources(func(to netip.Addr) (netip.Addr, bool) {
				asked = append(asked, to.String())
				return own, to.Is4()
			})
			require.Equal(t, test.asked, strings.Join(asked, " "))
			for _, a := range got {
				require.Equal(t, own, a)
			}
		})
	}
}

// This host has its own addresses, and loopback is recognized as such.
func TestLook(t *testing.T) {
	h := Look()
	require.NotEmpty(t, h.Interfaces)
	for _, i := range h.Interfaces {
		for _, p := range i.Addrs {
			require.True(t, i.Kind == Loopback || !p.Addr().IsLoopback(), p)
		}
	}
	for _, ip := range h.Sources {
		require.True(t, slices.ContainsFunc(h.Interfaces, func(i Interface) bool {
			return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr() == ip })
		}), ip)
	}
}
