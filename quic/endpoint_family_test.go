package quic_test

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// addrs returns the addresses at which a node reports that it listens.
func (n *node) addrs() []netip.AddrPort { return n.Listeners()[0].Addrs }

func (n *node) any4() netip.AddrPort {
	return netip.AddrPortFrom(netip.IPv4Unspecified(), n.addr().Port())
}
func (n *node) any6() netip.AddrPort {
	return netip.AddrPortFrom(netip.IPv6Unspecified(), n.addr().Port())
}
func (n *node) addr6() netip.AddrPort {
	return netip.AddrPortFrom(netip.IPv6Loopback(), n.addr().Port())
}

// Both families listen on one port, and keep it while each is switched off and
// on as the node runs.
func TestFamilies(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{DisableIPv6: true})
	require.Equal(t, []netip.AddrPort{b.any4()}, b.addrs())

	impatient := start(t, p2p.Config{}, quic.Config{DialTimeout: time.Second}) // for dials in vain
	through := func(a *node, addr netip.AddrPort) (*p2p.Peer, error) {
		peer := a.knows(t, b, addr)
		s, err := peer.NewStream(within(t))
		if err == nil {
			exchange(t, s, "hello")
		}
		return peer, err
	}
	via := func(addr netip.AddrPort) (*p2p.Peer, error) { return through(a, addr) }
	_, err := through(impatient, b.addr6())
	var failed *p2p.DialError
	require.ErrorAs(t, err, &failed, "a disabled family accepts nothing")

	events := b.Subscribe()
	defer events.Close()
	require.Equal(t, p2p.Resync{}, <-events.C)
	b.listener.SetIPv6(true)
	b.listener.SetIPv4(false)
	require.Equal(t, p2p.ListenerAddrAdded{Listener: "quic", Addr: b.any6()}, receive(t, events.C))
	require.Equal(t, p2p.ListenerAddrRemoved{Listener: "quic", Addr: b.any4()}, receive(t, events.C))
	_, err = through(impatient, b.addr())
	require.ErrorAs(t, err, &failed)
	peer, err := via(b.addr6())
	require.NoError(t, err)
	require.Equal(t, b.addr6(), peer.Info().Path.Remote)

	b.listener.SetIPv6(false) // the connections of the family are closed
	until(t, a, func() bool { return !peer.Connected() })
	require.Empty(t, b.addrs())
	b.listener.SetIPv4(true)
	require.Equal(t, []netip.AddrPort{b.any4()}, b.addrs(), "the port is the same")
	_, err = via(b.addr())
	require.NoError(t, err)

	a.listener.SetIPv4(false) // a disabled family is not dialed either
	until(t, a, func() bool { return !peer.Connected() })
	_, err = via(b.addr())
	require.ErrorIs(t, err, quic.ErrDisabled)
	b.listener.SetIPv6(true)
	_, err = via(b.addr6())
	require.NoError(t, err)
}

// A fixed port is used for both families, also after a restart; if it is taken,
// Start returns an error that says so.
func TestPort(t *testing.T) {
	taken, err := net.ListenUDP("udp", &net.UDPAddr{})
	require.NoError(t, err)
	defer taken.Close()
	port := uint16(taken.LocalAddr().(*net.UDPAddr).Port)
	_, err = p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{quic.New(quic.Config{Port: port})}})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, "in use; choose another Config.Port")
	only6, err := net.ListenUDP("udp6", &net.UDPAddr{})
	require.NoError(t, err)
	defer only6.Close()
	_, err = p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{
		quic.New(quic.Config{Port: uint16(only6.LocalAddr().(*net.UDPAddr).Port)}),
	}})
	require.ErrorIs(t, err, syscall.EADDRINUSE, "for IPv6 alone")

	require.NoError(t, taken.Close())
	for range 2 {
		n := start(t, p2p.Config{}, quic.Config{Port: port})
		got, ok := n.listener.Port()
		require.True(t, ok)
		require.Equal(t, port, got)
		require.Equal(t, []netip.AddrPort{n.any4(), n.any6()}, n.addrs())
		require.NoError(t, n.Shutdown(within(t)))
		_, ok = n.listener.Port()
		require.False(t, ok)
	}
}
