package quic_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/quic"
)

// A peer that a hook tracks while it is connected is told everything.
func TestTrackedIsTold(t *testing.T) {
	t.Parallel()
	n := startExactly(t, p2p.Config{Name: "contact"}, quic.Config{}) // it is not announced
	other := start(t, p2p.Config{}, quic.Config{})
	s, err := other.knows(t, n).NewStream(within(t))
	require.NoError(t, err)
	s.Reset(p2p.ErrCanceled)
	peer := other.peer(t, n.Identity())
	_, err = peer.WaitMetadata(within(t))
	require.NoError(t, err)
	require.Empty(t, peer.Name())
	until(t, n, func() bool { _, ok := n.Peer(other.Identity()); return ok })
	n.scope.Track(other.Identity())
	require.Eventually(t, func() bool { return peer.Name() == "contact" }, patience, 10*time.Millisecond)
}

// Changes of metadata that arrive over version 1 are limited as well.
func TestAncestorFloodsMetadata(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{Limits: quic.Limits{StrangerIdle: -1}})
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	c := f.connect(t, n)
	ctx, cancel := context.WithCancel(within(t))
	events := make(chan int, 1)
	sub := n.Subscribe()
	go func() {
		count := 0
		defer func() { events <- count }()
		for {
			select {
			case e := <-sub.C:
				if _, ok := e.(p2p.PeerMetadataModified); ok {
					count++
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	began := time.Now()
	const streams = 100
	for i := range streams {
		s, err := c.NewStream(within(t))
		require.NoError(t, err)
		_, err = io.WriteString(s, "\x13/multistream/1.0.0\n\x09/sdp2p/1\n")
		require.NoError(t, err)
		hello, err := (&v1.Hello{Identity: f.id.Bytes(), Metadata: v1.Metadata{"n": fmt.Sprint(i)}}).AppendBinary([]byte{1})
		require.NoError(t, err)
		_, err = s.Write(hello)
		require.NoError(t, err)
		s.CloseWrite()
		io.Copy(io.Discard, s)
	}
	took := time.Since(began)
	cancel()
	got := <-events
	t.Logf("%d changes of metadata in %v", got, took)
	require.LessOrEqual(t, float64(got), 16+4*(took.Seconds()+1))
}
