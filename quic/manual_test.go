package quic_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

func TestManualEntries(t *testing.T) {
	t.Parallel()
	good := []string{
		"laptop", "laptop.local", "laptop.local.", "my_laptop.example:80", "a.b-c.d:65535", "192.168.1.7", "192.168.1.7:1",
		"::1", "2001:db8::1", "[2001:db8::1]:7373", "[::1]", "xn--zo-eka.example", "fe80::1%eth0", "[fe80::1%eth0]:1",
	}
	l := quic.New(quic.Config{})
	require.NoError(t, l.SetManualPeers(good))
	for i, m := range l.ManualPeers() {
		require.Equal(t, good[i], m.Entry)
		require.Equal(t, quic.ManualIdle, m.State)
	}
	for _, bad := range []string{
		"", " ", "a b", "host:", "host:0", "host:65536", "host:+1", "host:x", ":7373", "[::1", "::1]", "[::1]:", "[laptop]:1", "[192.168.1.7]:1",
		"300.1.1.1", "1.2.3", "192.168.1.7.8:1", "-a.example", "a..b", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "aa", "0.0.0.0", "::", "[::]:1",
		"224.0.0.251", "[ff02::fb]:1", "255.255.255.255", "fe80::1", "[2001:db8::1%eth0]:1", "a:b:c", "http://laptop", "laptop/x", "zoë.example", "laptop\n",
	} {
		err := l.SetManualPeers([]string{"laptop", bad})
		require.Error(t, err, "%q", bad)
		require.ErrorContains(t, err, fmt.Sprintf("%q", bad))
	}
	require.Len(t, l.ManualPeers(), len(good), "a list that is refused changes nothing")
	require.NoError(t, l.SetManualPeers([]string{"laptop", "laptop"}))
	require.Len(t, l.ManualPeers(), 1)

	_, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{quic.New(quic.Config{ManualPeers: []string{"a b"}})}})
	require.ErrorContains(t, err, `"a b"`)
}

// manual returns the state of a node's only manual peer.
func (n *node) manual(t testing.TB) quic.ManualPeer {
	t.Helper()
	all := n.listener.ManualPeers()
	require.Len(t, all, 1)
	return all[0]
}

// A manual peer is found by its address and by its name, without any discovery;
// it stays known, with its metadata, as long as it answers at the address.
func TestManualPeer(t *testing.T) {
	t.Parallel()
	b := start(t, p2p.Config{Name: "b", Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	for _, entry := range []string{b.addr().String(), fmt.Sprintf("localhost:%d", b.addr().Port()), fmt.Sprintf("[::1]:%d", b.addr().Port())} {
		a := start(t, p2p.Config{Name: "a"}, quic.Config{ManualPeers: []string{entry}})
		until(t, a, func() bool { peer, ok := a.Peer(b.Identity()); return ok && len(peer.Info().DiscoveredBy) == 1 })
		peer := a.peer(t, b.Identity())
		m := a.manual(t)
		require.Equal(t, quic.ManualReached, m.State)
		require.NoError(t, m.Err)
		require.Equal(t, b.Identity(), m.Identity)
		require.Equal(t, b.addr().Port(), m.Addr.Port())
		require.Equal(t, p2p.Manual, peer.Info().Candidates[0].Kind)
		require.Equal(t, m.Addr, peer.Info().Candidates[0].Addr)
		_, err := peer.WaitMetadata(within(t))
		require.NoError(t, err)
		require.Equal(t, "b", peer.Name())
		s, err := peer.NewStream(within(t))
		require.NoError(t, err)
		exchange(t, s, "by hand")

		require.NoError(t, a.listener.SetManualPeers(nil))
		until(t, a, func() bool { return len(peer.Info().DiscoveredBy) == 0 })
		require.Empty(t, a.listener.ManualPeers())
		require.NoError(t, a.Shutdown(within(t)))
	}
}

// quietPort returns a port on which no program listens, from a range that the
// system hands out only on request.
func quietPort(t testing.TB) uint16 {
	t.Helper()
	for {
		port := 20000 + rand.N(10000)
		socket, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err == nil {
			require.NoError(t, socket.Close())
			return uint16(port)
		}
	}
}

// A manual peer that is not there yet is reached once it is, and becomes
// unavailable once it has gone.
func TestManualPeerComesAndGoes(t *testing.T) {
	t.Parallel()
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), quietPort(t))
	a := start(t, p2p.Config{}, quic.Config{ManualPeers: []string{addr.String()}})
	again := func(key p2p.Config) *node {
		n := start(t, key, quic.Config{Port: addr.Port()})
		until(t, a, func() bool { peer, ok := a.Peer(n.Identity()); return ok && len(peer.Info().DiscoveredBy) == 1 })
		require.Equal(t, quic.ManualReached, a.manual(t).State)
		return n
	}
	first := again(p2p.Config{})
	peer := a.peer(t, first.Identity())
	require.NoError(t, first.Shutdown(within(t)))
	until(t, a, func() bool { return !peer.Available() })
	require.Equal(t, first.Identity(), a.manual(t).Identity, "the identity of the last peer at the address is remembered")

	second := again(p2p.Config{}) // another peer at the same address
	require.NotEqual(t, first.Identity(), second.Identity())
	require.Equal(t, second.Identity(), a.manual(t).Identity)
	require.False(t, peer.Available())
}

// A node that is its own manual peer reports that as an error; a manual peer
// that is also discovered is one peer; and two entries for one node are one
// peer.
func TestManualPeerOddities(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{})
	require.NoError(t, a.listener.SetManualPeers([]string{a.addr().String()}))
	require.Eventually(t, func() bool { return a.manual(t).State == quic.ManualFailed }, patience, time.Millisecond)
	require.ErrorContains(t, a.manual(t).Err, "itself")

	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	peer := a.knows(t, b)
	require.NoError(t, a.listener.SetManualPeers([]string{b.addr().String(), fmt.Sprintf("[::1]:%d", b.addr().Port())}))
	until(t, a, func() bool { return len(peer.Info().Candidates) == 3 })
	require.Len(t, a.Peers(), 1)
	require.Equal(t, []string{"quic", "book"}, peer.Info().DiscoveredBy)
	require.NoError(t, a.scope.Expired(b.Identity()))
	require.NoError(t, a.listener.SetManualPeers([]string{b.addr().String()}))
	until(t, a, func() bool { return len(peer.Info().Candidates) == 1 })
	require.True(t, peer.Available())
}

// If nothing answers, the error names each address, and attempts go on.
func TestManualPeerUnreachable(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{DialTimeout: 1, DisableIPv6: true})
	require.NoError(t, a.listener.SetManualPeers([]string{"127.0.0.1:1", "[::1]:1", "no-such-host.invalid"}))
	var all []quic.ManualPeer
	require.Eventually(t, func() bool {
		all = a.listener.ManualPeers()
		return !slices.ContainsFunc(all, func(m quic.ManualPeer) bool { return m.State != quic.ManualFailed })
	}, patience, time.Millisecond)
	require.ErrorContains(t, all[0].Err, "127.0.0.1:1")
	require.ErrorIs(t, all[1].Err, quic.ErrDisabled)
	require.ErrorContains(t, all[2].Err, "no-such-host.invalid")
	for _, m := range all {
		require.True(t, m.Identity.IsZero())
		require.False(t, m.Since.IsZero())
	}
	require.Empty(t, a.Peers())
}

// A manual peer that closes each connection is not dialed again at once.
func TestManualPeerThatCuts(t *testing.T) {
	t.Parallel()
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	cut := make(chan struct{}, 64)
	f.mux.AddHandler("/sdp2p/2/meta", func(_ string, s io.ReadWriteCloser) error {
		s.Read(make([]byte, 1)) // the node's metadata; its version is known now
		cut <- struct{}{}
		return s.(network.Stream).Conn().Close()
	})
	a := start(t, p2p.Config{}, quic.Config{ManualPeers: []string{f.addr.String()}})
	began := time.Now()
	for range 3 {
		receive(t, cut)
	}
	require.GreaterOrEqual(t, time.Since(began), 2*time.Second, "1 s and 2 s lie between them")
	require.Equal(t, quic.ManualReached, a.manual(t).State)
}
