package quic_test

import (
	"io"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/quic"
)

// A stream arrives even if it is opened at the moment at which a manual peer of
// version 1 becomes available.
func TestStreamToAnAvailableAncestor(t *testing.T) {
	t.Parallel()
	s := newSpacedrive(t, v1.Metadata{"name": "rust"})
	for range 20 {
		n := start(t, p2p.Config{}, quic.Config{})
		events := n.Subscribe()
		defer events.Close()
		require.NoError(t, n.listener.SetManualPeers([]string{s.addr.String()}))
		for peer := (*p2p.Peer)(nil); peer == nil; {
			if e, ok := receive(t, events.C).(p2p.PeerAvailable); ok {
				peer = e.Peer
				require.NoError(t, send(within(t), peer, "at once"))
			}
		}
		require.Equal(t, v1.Identify, receive(t, s.modes), "the introduction comes first")
		require.Equal(t, v1.Stream, receive(t, s.modes))
		until(t, n, func() bool { return n.manual(t).State == quic.ManualReached })
		require.Equal(t, map[string]string{"name": "rust"}, n.peer(t, s.id).Info().Metadata)
		require.Empty(t, s.modes, "the introduction is not repeated")
	}
	require.NoError(t, s.Swarm.Close()) // so that the nodes need not part from it at the end
}

// A manual peer becomes available once the introduction is over. Streams that
// it opens before that wait, and are not lost.
func TestManualPeerIsIntroducedFirst(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	asked, answer := make(chan struct{}, 8), make(chan struct{})
	f.mux.AddHandlerWithFunc("/sdp2p/2/meta", func(protocol string) bool {
		if protocol != "/sdp2p/2/meta" {
			return false
		}
		asked <- struct{}{}
		<-answer
		return true
	}, func(_ string, s io.ReadWriteCloser) error {
		_, err := io.Copy(io.Discard, s)
		return err
	})
	says, err := proto.Metadata{"name": "f"}.AppendBinary([]byte("\x13/multistream/1.0.0\n\x0e/sdp2p/2/meta\n"))
	require.NoError(t, err)
	sent := make(chan network.Stream, 8)
	f.Notify(&network.NotifyBundle{ConnectedF: func(_ network.Network, c network.Conn) {
		go func() {
			for _, b := range [][]byte{says, []byte("\x13/multistream/1.0.0\n\x09/sdp2p/2\nhello")} {
				s, err := c.NewStream(t.Context())
				if err == nil {
					s.Write(b)
					sent <- s
				}
			}
		}()
	}})
	require.NoError(t, n.listener.SetManualPeers([]string{f.addr.String()}))
	receive(t, asked)
	receive(t, sent)
	stream := receive(t, sent)
	require.Empty(t, n.Peers())
	close(answer)
	until(t, n, func() bool { peer, ok := n.Peer(f.id); return ok && peer.Verified() && peer.Name() == "f" })
	readExactly(t, stream, []byte("\x13/multistream/1.0.0\n\x09/sdp2p/2\nhello"))
	require.False(t, stream.Conn().IsClosed())
	stream.Reset()
}

// A manual peer whose introduction fails does not become available.
func TestManualPeerIsNotIntroduced(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{})
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	f.mux.AddHandler("/sdp2p/1", func(_ string, s io.ReadWriteCloser) error {
		return s.(network.Stream).ResetWithError(network.StreamErrorCode(p2p.ErrRefused))
	})
	events := n.Subscribe()
	defer events.Close()
	require.NoError(t, n.listener.SetManualPeers([]string{f.addr.String()}))
	require.Equal(t, "/sdp2p/1", receive(t, f.asked))
	require.Eventually(t, func() bool { return n.manual(t).State == quic.ManualFailed }, patience, 1)
	require.ErrorIs(t, n.manual(t).Err, p2p.ErrRefused)
	events.Close()
	for e := range events.C {
		_, available := e.(p2p.PeerAvailable)
		require.False(t, available)
	}
}
