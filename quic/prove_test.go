package quic_test

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
)

// probe probes for the holder of a key, without the limits of Scope.Probe.
func (n *node) probe(t testing.TB, id identity.RemoteIdentity, at ...netip.AddrPort) (netip.AddrPort, error) {
	return n.listener.Probe(within(t), id, at)
}

// The holder of a key answers a probe at its address, and no other node does.
// The node that probes reports no connection.
func TestProbe(t *testing.T) {
	t.Parallel()
	a, b := start(t, p2p.Config{}, quic.Config{}), start(t, p2p.Config{}, quic.Config{})
	c := start(t, p2p.Config{}, quic.Config{})
	quiet := netip.AddrPortFrom(a.addr().Addr(), quietPort(t))
	from, err := a.probe(t, b.Identity(), quiet, c.addr(), b.addr())
	require.NoError(t, err)
	require.Equal(t, b.addr(), from)
	require.Empty(t, a.Peers())

	_, err = c.probe(t, b.Identity(), a.addr(), netip.MustParseAddrPort("224.0.0.1:5353"))
	require.ErrorIs(t, err, quic.ErrOtherPeer)
	require.ErrorIs(t, err, quic.ErrNoAddress)
	_, err = c.probe(t, b.Identity())
	require.ErrorIs(t, err, p2p.ErrNoCandidate)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = a.listener.Probe(ctx, b.Identity(), []netip.AddrPort{quiet})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = quic.New(quic.Config{}).Probe(t.Context(), b.Identity(), nil)
	require.ErrorIs(t, err, quic.ErrNotRunning)
}

// A connected peer answers a probe over its connection; if that is silent, the
// peer is probed at the announced addresses.
func TestProbeOfAConnectedPeer(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	r := newRelay(t, b.addr())
	s, err := a.knows(t, b, r.addr).NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "hello")
	from, err := a.probe(t, b.Identity())
	require.NoError(t, err)
	require.Equal(t, r.addr, from)

	r.drop()
	for range 5 { // packets on their way count as an answer
		if from, err = a.probe(t, b.Identity(), b.addr()); from == b.addr() {
			break
		}
	}
	require.NoError(t, err)
	require.Equal(t, b.addr(), from)
	require.Len(t, a.peer(t, b.Identity()).Info().Connections, 1)
}

// Another node with the same key answers a probe; this node itself does not,
// whoever forwards its packets to it.
func TestProbeForTheOwnKey(t *testing.T) {
	t.Parallel()
	key := identity.New()
	var asked atomic.Int32
	allow := func(context.Context, p2p.Request) error { asked.Add(1); return nil }
	a := start(t, p2p.Config{Identity: key, Allow: allow}, quic.Config{})
	r := newRelay(t, a.addr())
	itself := func(at ...netip.AddrPort) {
		var err error
		// On a busy machine, a handshake may time out.
		for began := time.Now(); time.Since(began) < patience; {
			_, err = a.probe(t, key.Remote(), at...)
			if !assert.Error(t, err, at) || strings.Contains(err.Error(), "itself") {
				return
			}
		}
		assert.ErrorContains(t, err, "itself", at)
	}
	itself(a.addr())
	itself(r.addr)
	var all sync.WaitGroup // some of these handshakes have to prove their address
	for range 8 {
		all.Go(func() { itself(a.addr(), r.addr) })
	}
	all.Wait()

	twin := start(t, p2p.Config{Identity: key, Allow: allow}, quic.Config{})
	for _, at := range []netip.AddrPort{twin.addr(), newRelay(t, twin.addr()).addr} {
		from, err := a.probe(t, key.Remote(), r.addr, at)
		require.NoError(t, err)
		require.Equal(t, at, from)
	}
	require.Empty(t, a.Peers())
	require.Empty(t, twin.Peers())
	require.Zero(t, asked.Load(), "a probe does not ask the app")
}
