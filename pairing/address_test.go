package pairing

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLikeliest(t *testing.T) {
	host := "127.0.0.1 203.0.113.5 192.168.1.5 172.17.0.1 ::1 fe80::1 2001:db8::5 fd00::5"
	for name, test := range map[string]struct{ listening, host, want string }{
		"all interfaces":       {"0.0.0.0:1 [::]:2", host, "192.168.1.5:1 [fd00::5]:2 172.17.0.1:1 [2001:db8::5]:2"},
		"IPv4 only":            {"0.0.0.0:1", host, "192.168.1.5:1 172.17.0.1:1 203.0.113.5:1"},
		"IPv6 only":            {"[::]:2", host, "[fd00::5]:2 [2001:db8::5]:2"},
		"one address":          {"192.168.1.5:1", host, "192.168.1.5:1"},
		"4in6":                 {"[::ffff:192.168.1.5]:1", host, "192.168.1.5:1"},
		"twice":                {"0.0.0.0:1 192.168.1.5:1", "192.168.1.5", "192.168.1.5:1"},
		"two ports":            {"0.0.0.0:1 0.0.0.0:2", "192.168.1.5", "192.168.1.5:1 192.168.1.5:2"},
		"loopback alone":       {"0.0.0.0:1 [::]:2", "127.0.0.1 ::1", "127.0.0.1:1 [::1]:2"},
		"loopback of IPv4":     {"0.0.0.0:1 [::]:2", "127.0.0.1 ::1 fd00::5", "[fd00::5]:2"},
		"loopback of IPv6":     {"0.0.0.0:1 [::]:2", "192.168.1.5 127.0.0.1 ::1", "192.168.1.5:1"},
		"listens on loopback":  {"127.0.0.1:1", host, "127.0.0.1:1"},
		"link-local alone":     {"[::]:2", "fe80::1", ""},
		"zone":                 {"[fd00::5%eth0]:2", "", ""},
		"no port":              {"192.168.1.5:0", "", ""},
		"nothing":              {"", host, ""},
		"unspecified, no host": {"0.0.0.0:1", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var listening []netip.AddrPort
			for _, a := range strings.Fields(test.listening) {
				listening = append(listening, netip.MustParseAddrPort(a))
			}
			var addrs []netip.Addr
			for _, a := range strings.Fields(test.host) {
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			var got []string
			for _, a := range likeliest(listening, addrs) {
				got = append(got, a.String())
			}
			require.Equal(t, test.want, strings.Join(got, " "))
			require.LessOrEqual(t, len(got), MaxAddrs)
		})
	}
}
