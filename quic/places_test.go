package quic

import (
	"slices"
	"sync"
	"testing"
	"time"

	tpt "github.com/libp2p/go-libp2p/core/transport"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/v1/intro"
)

// dialed returns both ends of a connection: that of the node that dialed, and
// that of the other one, to which the peer is a stranger. No stream is open on
// it.
func dialed(t *testing.T, from, to Config) (ours, theirs *conn) {
	t.Helper()
	_, la, _ := startAlone(t, from)
	b, lb, viaB := startAlone(t, to)
	s, err := la.Dial(t.Context(), b.Identity(), viaB)
	require.NoError(t, err)
	s.Reset(p2p.ErrCanceled)
	ours = la.running().best(b.Identity())
	<-ours.known
	id := la.running().scope.Node().Identity()
	require.Eventually(t, func() bool { theirs = lb.running().best(id); return theirs != nil }, time.Minute, time.Millisecond)
	<-theirs.known
	require.True(t, theirs.stranger())
	return ours, theirs
}

// A stream that was refused does not count as use, even after a stream that was
// served.
func TestRefusedStreamIsNoUse(t *testing.T) {
	t.Parallel()
	_, c := dialed(t, Config{}, Config{})
	use := func(served bool) time.Time {
		require.True(t, c.streamBegins())
		c.streamEnded(served)
		return c.lastUse().Round(0)
	}
	at := use(true)
	require.Eventually(t, func() bool { return time.Now().After(at) }, time.Minute, time.Millisecond)
	require.Equal(t, at, use(false))
	require.True(t, use(true).After(at))
}

// However many connections a peer makes at once, it keeps no more than its
// limit: each further one displaces another.
func TestConnectionsOfAPeerAtOnce(t *testing.T) {
	t.Parallel()
	ours, theirs := dialed(t, Config{}, Config{Limits: Limits{HandshakesPerAddr: -1, HandshakesPerNet: -1, StrangerIdle: time.Hour}})
	from, to := ours.endpoint, theirs.endpoint
	all := make(chan tpt.CapableConn, 64)
	var dials sync.WaitGroup
	for range cap(all) {
		dials.Go(func() {
			if c, err := from.transport.Dial(t.Context(), multiaddr(ours.path.Remote), peerID(ours.id)); err == nil {
				all <- c
			}
		})
	}
	dials.Wait()
	close(all)
	var open []tpt.CapableConn
	for c := range all {
		t.Cleanup(func() { c.Close() })
		open = append(open, c)
	}
	require.Greater(t, len(open), to.limits.ConnectionsPerPeer)
	require.Eventually(t, func() bool {
		open = slices.DeleteFunc(open, tpt.CapableConn.IsClosed)
		return len(open) <= to.limits.ConnectionsPerPeer
	}, time.Minute, 10*time.Millisecond)
}

// A stream that a version 1 peer has dropped does not count as served any more.
func TestDroppedStreamIsNotServed(t *testing.T) {
	t.Parallel()
	_, c := dialed(t, Config{}, Config{})
	require.True(t, c.streamBegins())
	s, err := c.newStream(t.Context(), time.Second)
	require.NoError(t, err)
	_, err = c.callAncestor(t.Context(), s, func(*stream) error { return intro.ErrClaim })
	require.ErrorIs(t, err, intro.ErrClaim)
	require.Zero(t, c.serving.Load())
	require.Zero(t, c.streams.Load())
	require.False(t, c.inUse())
}

// A stream that this node has opened keeps a stranger's connection open even
// before the version of the stream is settled.
func TestUndecidedStreamIsUse(t *testing.T) {
	t.Parallel()
	_, c := dialed(t, Config{}, Config{})
	for _, end := range []func(*hinted){
		func(s *hinted) { s.Reset(p2p.ErrCanceled) },
		func(s *hinted) { s.Write([]byte("x")); s.Reset(p2p.ErrCanceled) },
	} {
		require.False(t, c.inUse())
		require.True(t, c.streamBegins())
		first, err := c.newStream(t.Context(), time.Second)
		require.NoError(t, err)
		s := newHinted(c, first)
		require.True(t, c.inUse())
		end(s)
		require.Eventually(t, func() bool { return !c.inUse() }, time.Minute, time.Millisecond)
		require.Zero(t, c.serving.Load())
	}
}
