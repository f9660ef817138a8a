package quic

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// A broadcast address does not belong to any host.
func TestBroadcastAddresses(t *testing.T) {
	t.Parallel()
	for network, all := range map[string]string{
		"192.168.7.3/24": "192.168.7.255", "10.1.2.3/20": "10.1.15.255", "10.1.2.3/8": "10.255.255.255", "192.0.2.1/30": "192.0.2.3",
		"192.0.2.1/31": "invalid IP", "192.0.2.1/32": "invalid IP", "fe80::1/64": "invalid IP",
	} {
		got, _ := broadcastOf(netip.MustParsePrefix(network))
		require.Equal(t, all, got.String(), network)
	}
	_, l, via := startAlone(t, Config{})
	e := l.running()
	for _, ip := range []string{"255.255.255.255", "127.255.255.255", "0.0.0.0", "224.0.0.251", "ff02::fb", "::ffff:255.255.255.255"} {
		c := p2p.Candidate{Kind: p2p.Direct, Addr: netip.AddrPortFrom(netip.MustParseAddr(ip), 7373)}
		require.ErrorIs(t, e.dialable(c), ErrNoAddress, ip)
	}
	require.NoError(t, e.dialable(via[0]))
}

// An address becomes familiar through a tracked peer, or by being entered as
// that of a manual peer.
func TestCircle(t *testing.T) {
	t.Parallel()
	_, l, _ := startAlone(t, Config{ManualPeers: []string{"127.0.0.7:1"}})
	e := l.running()
	familiar, _, _ := e.circle.knows(netip.MustParseAddr("127.0.0.7"))
	require.True(t, familiar)
	familiar, _, own := e.circle.knows(netip.MustParseAddr("192.0.2.8"))
	require.False(t, familiar)
	require.False(t, own)
	e.circle.saw(netip.MustParseAddr("192.0.2.8"))
	familiar, _, _ = e.circle.knows(netip.MustParseAddr("::ffff:192.0.2.8"))
	require.True(t, familiar)
	_, _, own = e.circle.knows(netip.MustParseAddr("127.0.0.1"))
	require.True(t, own)
	for i := range 2 * maxSeen {
		e.circle.saw(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}))
	}
	require.Len(t, e.circle.seen, maxSeen)
}

// A peer's address is remembered if the peer is tracked when its connection
// begins or ends, and otherwise not.
func TestSeenPeers(t *testing.T) {
	t.Parallel()
	c, theirs := dialed(t, Config{}, Config{})
	here := c.path.Remote.Addr()
	familiar, _, _ := c.endpoint.circle.knows(here)
	require.False(t, familiar, "a stranger does not count, even one that this node dialed")
	require.NotNil(t, theirs.endpoint.scope.Track(theirs.id))
	c.Close()
	<-c.ctx.Done()
	<-theirs.ctx.Done()
	require.Eventually(t, func() bool { familiar, _, _ := theirs.endpoint.circle.knows(here); return familiar }, time.Minute, time.Millisecond)
	familiar, _, _ = c.endpoint.circle.knows(here)
	require.False(t, familiar)
}
