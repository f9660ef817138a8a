package tcp_test

import (
	"context"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tcp"
)

// A device is a node with both listeners.
type device struct {
	*p2p.P2P
	udp   *quic.Listener
	lanes *tcp.Listener
}

var echo = p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
})

func newDevice(t *testing.T, cfg p2p.Config, m *meeting) *device {
	d := &device{udp: quic.New(quic.Config{TellStrangers: quic.Everything}), lanes: tcp.New(tcp.Config{})}
	cfg.App = "test"
	cfg.Hooks = []p2p.Hook{d.udp, d.lanes}
	if m != nil {
		cfg.Hooks = append(cfg.Hooks, &attendant{m})
	}
	if cfg.Handler == nil {
		cfg.Handler = echo
	}
	node, err := p2p.Start(t.Context(), cfg)
	require.NoError(t, err)
	d.P2P = node
	t.Cleanup(func() { node.Shutdown(context.Background()) })
	return d
}

// sees waits until a device has found another one.
func (d *device) sees(t *testing.T, id identity.RemoteIdentity) *p2p.Peer {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for peer := range d.Available(ctx) {
		if peer.Identity() == id {
			return peer
		}
	}
	require.FailNow(t, "the peer is not found")
	return nil
}

// until waits until reached returns true; it checks after each event of the
// node.
func until(t *testing.T, node *p2p.P2P, reached func() bool) {
	t.Helper()
	events := node.Subscribe()
	defer events.Close()
	late := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-events.C:
		case <-tick.C:
		case <-late:
			require.FailNow(t, "the condition is never reached")
		}
	}
}

func exchange(t *testing.T, s *p2p.Stream) error {
	t.Helper()
	s.SetDeadline(time.Now().Add(patience))
	if _, err := s.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(s, make([]byte, 1))
	return err
}

// open opens a stream, checks that the peer echoes, and returns whether the
// stream is a lane.
func open(t *testing.T, ctx context.Context, to *p2p.Peer) (s *p2p.Stream, lane bool) {
	t.Helper()
	s, err := to.NewStream(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { s.Reset(p2p.ErrCanceled) })
	require.NoError(t, exchange(t, s))
	local, _ := s.Endpoints()
	_, lane = local.(*net.TCPAddr)
	return s, lane
}

// connect lets the nodes connect over UDP, since the meeting knows no address.
func connect(t *testing.T, a, b *device) {
	port, _ := b.udp.Port()
	require.NoError(t, a.udp.SetManualPeers([]string{net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))}))
	until(t, a.P2P, func() bool { peer, ok := a.Peer(b.Identity()); return ok && peer.Connected() })
}
