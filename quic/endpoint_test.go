package quic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// startAlone starts a node with nothing but a listener.
func startAlone(t *testing.T, cfg Config) (*p2p.P2P, *Listener, []p2p.Candidate) {
	t.Helper()
	l := New(cfg)
	handler := p2p.HandlerFunc(func(context.Context, *p2p.Stream) error { return nil })
	n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{l}, Handler: handler})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Shutdown(context.Background())) })
	port, _ := l.Port()
	return n, l, []p2p.Candidate{{Kind: p2p.Direct, Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}}
}

// A dial that finds a connection which the endpoint is about to hear of waits for that.
func TestDialDuringNotification(t *testing.T) {
	for range 6 { // it is chance whether the slow one is notified first
		a, la, viaA := startAlone(t, Config{})
		b, lb, viaB := startAlone(t, Config{})
		began, dialled := make(chan struct{}), make(chan struct{})
		la.running().swarm.Notify(&network.NotifyBundle{ConnectedF: func(network.Network, network.Conn) {
			close(began)
			select { // a slow one
			case <-dialled:
			case <-time.After(100 * time.Millisecond):
			}
		}})
		go lb.Dial(t.Context(), a.Identity(), viaA)
		<-began
		s, err := la.Dial(t.Context(), b.Identity(), viaB)
		close(dialled)
		require.NoError(t, err)
		s.Reset(p2p.ErrCancelled)
	}
}

// A stream on a connection that was lost before anything came of it is not waited for.
func TestOpenOnALostConnection(t *testing.T) {
	_, la, _ := startAlone(t, Config{})
	b, _, viaB := startAlone(t, Config{})
	s, err := la.Dial(t.Context(), b.Identity(), viaB)
	require.NoError(t, err)
	s.Reset(p2p.ErrCancelled)
	e := la.running()
	there := e.best(b.Identity())
	c := newConn(e, there.swarm, there.quic, there.id) // and never begun
	c.end()
	_, err = c.open(t.Context(), 2)
	require.ErrorIs(t, err, errLost)
}

// Where the peer has as many streams open as it takes, another one waits for one of them to end; not for ever.
func TestAllStreamsOpen(t *testing.T) {
	_, la, _ := startAlone(t, Config{})
	b, _, viaB := startAlone(t, Config{})
	s, err := la.Dial(t.Context(), b.Identity(), viaB)
	require.NoError(t, err)
	s.Reset(p2p.ErrCancelled)
	c := la.running().best(b.Identity())
	var open []*quicgo.Stream
	for {
		s, err := c.newStream(t.Context(), time.Millisecond)
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

// Connections count from the beginning of their handshake on, and not after its failure.
func TestHandshakesAreLimited(t *testing.T) {
	_, l, via := startAlone(t, Config{MaxConnections: 4})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := make(chan error, 50)
	stalled := &tls.Config{NextProtos: []string{"libp2p"}, InsecureSkipVerify: true, VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	for range 50 {
		go func() {
			_, err := quicgo.DialAddr(ctx, via[0].Addr.String(), stalled, nil)
			refused <- err
		}()
	}
	for range 46 {
		require.Error(t, <-refused)
	}
	limits := l.running().limits
	require.EqualValues(t, 4, limits.inbound.Load())
	cancel()
	require.Eventually(t, func() bool { return limits.inbound.Load() == 0 }, 20*time.Second, time.Millisecond)
}
