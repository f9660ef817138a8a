package quic

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// startAlone starts a node with only a listener.
func startAlone(t *testing.T, cfg Config) (*p2p.P2P, *Listener, []p2p.Candidate) {
	t.Helper()
	return startServing(t, cfg, func(context.Context, *p2p.Stream) error { return nil })
}

func startServing(t *testing.T, cfg Config, handler p2p.HandlerFunc) (*p2p.P2P, *Listener, []p2p.Candidate) {
	t.Helper()
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = time.Minute // 5 s may be too short on a busy machine
	}
	l := New(cfg)
	n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{l}, Handler: handler})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Shutdown(context.Background())) })
	port, _ := l.Port()
	return n, l, []p2p.Candidate{{Kind: p2p.Direct, Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}}
}

// Opening a stream on a connection that was lost before it began does not
// block.
func TestOpenOnALostConnection(t *testing.T) {
	t.Parallel()
	_, la, _ := startAlone(t, Config{})
	b, _, viaB := startAlone(t, Config{})
	s, err := la.Dial(t.Context(), b.Identity(), viaB)
	require.NoError(t, err)
	s.Reset(p2p.ErrCanceled)
	e := la.running()
	there := e.best(b.Identity())
	c := newConn(e, there.link, there.id, there.path) // its tasks were never started
	c.end()
	_, err = c.open(t.Context(), 2)
	require.ErrorIs(t, err, errLost)
	require.ErrorIs(t, err, p2p.ErrConnectionLost)
}

// Opening a stream on a connection that is being closed for being idle does not
// block, and the stream is opened on another connection.
func TestOpenOnARetiredConnection(t *testing.T) {
	t.Parallel()
	c, theirs := dialed(t, Config{}, Config{})
	c.mu.Lock()
	c.retired = true
	c.mu.Unlock()
	time.AfterFunc(5*time.Millisecond, func() { c.close(network.ConnGarbageCollected) })
	via := []p2p.Candidate{{Kind: p2p.Direct, Addr: c.path.Remote}}
	s, err := c.endpoint.listener.Dial(t.Context(), theirs.endpoint.scope.Node().Identity(), via)
	require.NoError(t, err)
	s.Reset(p2p.ErrCanceled)
}

// If the peer's stream limit is reached, opening another stream waits for one
// of them to end; but not for ever.
func TestAllStreamsOpen(t *testing.T) {
	t.Parallel()
	_, la, _ := startAlone(t, Config{})
	b, _, viaB := startAlone(t, Config{})
	s, err := la.Dial(t.Context(), b.Identity(), viaB)
	require.NoError(t, err)
	s.Reset(p2p.ErrCanceled)
	c := la.running().best(b.Identity())
	var open []*quicgo.Stream
	for {
		s, err := c.newStream(t.Context(), time.Second)
		if err != nil {
			require.ErrorIs(t, err, p2p.ErrBusy)
			break
		}
		open = append(open, s)
		require.LessOrEqual(t, len(open), 256)
	}
	require.Greater(t, len(open), 200)
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err = c.newStream(ctx, time.Minute)
	require.ErrorIs(t, err, cause)
	for _, s := range open {
		reset(s, 0)
	}
	_, err = c.newStream(t.Context(), time.Minute)
	require.NoError(t, err)
}
