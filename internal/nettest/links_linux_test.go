package nettest

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"

	"github.com/sdp2p/p2p/internal/dns"
	"github.com/sdp2p/p2p/internal/netlab"
)

// A host is in two virtual networks, between which a repeater forwards
// Multicast DNS, without routing. The host is in conflict with no node, and
// each neighbor connects to it at the address in its own network, which it
// lists first. This stays so.
func TestRepeater(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 4)
	lab.Disconnect()
	h := lab.Hosts
	one, two := lab.Segment(1, h[0], h[1], h[3]), lab.Segment(2, h[0], h[2], h[3])
	repeat(t, h[3], one.Interface, two.Interface)
	left, right := start(t, h[1], onLAN), start(t, h[2], onLAN)
	left.discovers(right, "mdns")
	right.discovers(left, "mdns")
	middle := start(t, h[0], onLAN)
	onOne, onTwo := one.Prefixes(h[0], 0), two.Prefixes(h[0], 0)
	for _, n := range []struct {
		*node
		near, far []netip.Prefix
	}{{left, onOne, onTwo}, {right, onTwo, onOne}} {
		n.sees(time.Now(), middle, append(n.near[:3:3], n.far...)...)
		first, err := netip.ParseAddrPort(strings.TrimPrefix(n.candidates(middle)[0], "direct "))
		require.NoError(t, err)
		require.Equal(t, n.near[0].Addr(), first.Addr(), n.candidates(middle))
		n.meets(middle, n.near...)
		middle.discovers(n.node, "mdns")
		middle.echo(n.node)
	}
	settled := time.Now().Add(5 * time.Second) // after the second announcement
	time.Sleep(20 * time.Second)               // nothing must happen meanwhile
	for _, n := range []*node{left, right, middle} {
		require.Empty(t, ask[string](n, "conflict"))
		for _, e := range n.Events() {
			told := e.Name == "available" || e.Name == "unavailable" || e.Name == "discovered" || e.Name == "expired"
			require.False(t, told && e.At.After(settled), "%v", e)
		}
	}
	require.Len(t, ask[[]peerInfo](middle, "peers"), 2)
}

// echo has n exchange a stream with other, at any address.
func (n *node) echo(other *node) echoed {
	n.t.Helper()
	r, err := netlab.Call[echoed](n.Process, "echo", echoArgs{other.id, "hello"})
	require.NoError(n.t, err)
	require.Empty(n.t, r.DialError)
	return r
}

// only4 removes IPv6 from a host, and gives it one IPv4 address and routes to
// the link.
func only4(h *netlab.Host, addr string, routes ...string) {
	h.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/"+netlab.Interface+"/disable_ipv6")
	h.Run("ip", "addr", "flush", "dev", netlab.Interface)
	h.Run("ip", "addr", "add", addr, "dev", netlab.Interface)
	for _, route := range routes {
		h.Run("ip", "route", "add", route, "dev", netlab.Interface, "src", netip.MustParsePrefix(addr).Addr().String())
	}
}

// RFC 6762 §11: hosts on one wire find each other whatever their networks are,
// and connect if they have routes.
func TestMasks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		a, b   string
		at, bt []string // routes to the link
	}{
		{"one address and a route to the link", "10.79.0.1/32", "10.79.0.2/24", []string{"10.79.0.0/24"}, nil},
		{"one address each", "10.79.0.1/32", "10.79.0.2/32", []string{"10.79.0.2"}, []string{"10.79.0.1"}},
		{"a smaller network", "10.79.0.1/25", "10.79.0.200/24", []string{"10.79.0.0/24"}, nil},
		{"a larger network", "10.79.0.1/24", "10.79.7.2/16", []string{"10.79.0.0/16"}, nil},
		{"two networks", "10.79.0.1/24", "192.168.79.2/24", []string{"192.168.79.0/24"}, []string{"10.79.0.0/24"}},
		{"addresses that hosts chose", "169.254.7.1/16", "169.254.8.2/16", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t, 2)
			only4(lab.Hosts[0], test.a, test.at...)
			only4(lab.Hosts[1], test.b, test.bt...)
			a, b := start(t, lab.Hosts[0], onLAN), start(t, lab.Hosts[1], onLAN)
			a.discovers(b, "mdns")
			b.discovers(a, "mdns")
			a.meets(b, netip.MustParsePrefix(test.b))
			b.meets(a, netip.MustParsePrefix(test.a))

			// A one-shot query is answered, too.
			require.NotEmpty(t, oneShot(t, lab.Hosts[0], b))
			require.NotEmpty(t, oneShot(t, lab.Hosts[1], a))
		})
	}
}

// oneShot asks for instances from a port of its own, and returns the answers of
// one node.
func oneShot(t *testing.T, h *netlab.Host, of *node) (answers []dns.Record) {
	t.Helper()
	var c *net.UDPConn
	var ifc *net.Interface
	require.NoError(t, h.Do(func() (err error) {
		if ifc, err = net.InterfaceByName(netlab.Interface); err == nil {
			c, err = net.ListenUDP("udp4", nil)
		}
		return err
	}))
	defer c.Close()
	q := pack(t, &dns.Message{Question: []dns.Question{{Name: serviceType, Type: dns.TypePTR, Class: dns.ClassINET}}})
	_, err := ipv4.NewPacketConn(c).WriteTo(q, &ipv4.ControlMessage{IfIndex: ifc.Index}, net.UDPAddrFromAddrPort(group4))
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(netlab.Patience)))
	for b := make([]byte, 9000); ; {
		n, err := c.Read(b)
		require.NoError(t, err)
		m, err := dns.Unpack(b[:n])
		require.NoError(t, err)
		for _, rr := range m.Answer {
			if ptr, ok := rr.(*dns.PTR); ok && strings.Contains(ptr.Ptr, dns.EscapeLabel(of.id)) {
				return m.Answer
			}
		}
	}
}

// On a cable between two hosts without a router, there are only IPv6 link-local
// addresses. The hosts find each other and connect, and each reports the
// interface along with the other's address.
func TestOneCable(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	for _, h := range lab.Hosts {
		h.Run("ip", "-4", "addr", "flush", "dev", netlab.Interface)
		h.Run("ip", "addr", "del", h.Addr6().String()+"/64", "dev", netlab.Interface)
	}
	a, b := start(t, lab.Hosts[0], onLAN), start(t, lab.Hosts[1], onLAN)
	a.discovers(b, "mdns")
	b.discovers(a, "mdns")
	at := func(n *node) netip.Addr { return n.host.LinkLocal().WithZone(netlab.Interface) }
	for _, pair := range [][2]*node{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		all := from.candidates(to)
		require.Len(t, all, 1)
		require.True(t, mentions(all, at(to)), all)
		require.Equal(t, at(to), from.echo(to).Path.Remote.Addr())
		remote, err := netip.ParseAddrPort(to.peer(from.id).Remote)
		require.NoError(t, err)
		require.Equal(t, at(from), remote.Addr())
	}
}
