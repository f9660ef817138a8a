package scan

import (
	"fmt"
	"net"
	"testing"

	hashicorp "github.com/hashicorp/mdns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/mdns"
)

// That it asks, and is answered, is tested among hosts (internal/nettest).
func TestAnswer(t *testing.T) {
	a := answer(`a+b\.c`, &hashicorp.ServiceEntry{
		Port: 7, AddrV4: net.IPv4(10, 0, 0, 1), AddrV6IPAddr: &net.IPAddr{IP: net.ParseIP("fe80::1"), Zone: "lo"},
		InfoFields: []string{`name=Zo\195\171 \"x\" \\`, "sdp2p=2"},
	}, "eth0")
	require.Equal(t, "a+b.c", a.Instance)
	require.Equal(t, []string{`name=Zoë "x" \`, "sdp2p=2"}, a.TXT)
	require.Equal(t, "[10.0.0.1:7 [fe80::1%lo]:7]", fmt.Sprint(a.Addrs))
	a = answer("a", &hashicorp.ServiceEntry{Port: 7, AddrV6IPAddr: &net.IPAddr{IP: net.ParseIP("fe80::1")}}, "eth0")
	require.Equal(t, "[[fe80::1%eth0]:7]", fmt.Sprint(a.Addrs), "heard over IPv4")
	_, err := mdns.Scan(t.Context(), "test", mdns.ScanConfig{Interface: "no such interface"})
	require.ErrorContains(t, err, "no such interface", "importing this package is enough")
}
