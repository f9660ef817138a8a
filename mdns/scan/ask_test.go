package scan

import (
	"fmt"
	"net"
	"testing"

	hashicorp "github.com/hashicorp/mdns"
	"github.com/stretchr/testify/require"
)

// TestAnswer checks how the client's answers are translated. The test of its
// questions and answers between hosts is in internal/nettest.
func TestAnswer(t *testing.T) {
	a := newAnswer(`a+b\.c`, &hashicorp.ServiceEntry{
		Port: 7, AddrV4: net.IPv4(10, 0, 0, 1), AddrV6IPAddr: &net.IPAddr{IP: net.ParseIP("fe80::1"), Zone: "lo"},
		InfoFields: []string{`name=Zo\195\171 \"x\" \\`, "sdp2p=2"},
	}, "eth0")
	require.Equal(t, "a+b.c", a.instance)
	require.Equal(t, []string{`name=Zoë "x" \`, "sdp2p=2"}, a.txt)
	require.Equal(t, "[10.0.0.1:7 [fe80::1%lo]:7]", fmt.Sprint(a.addrs))
	a = newAnswer("a", &hashicorp.ServiceEntry{Port: 7, AddrV6IPAddr: &net.IPAddr{IP: net.ParseIP("fe80::1")}}, "eth0")
	require.Equal(t, "[[fe80::1%eth0]:7]", fmt.Sprint(a.addrs), "an answer heard over IPv4")
}
