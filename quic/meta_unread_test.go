package quic_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// A reader reads its streams once may has returned, and reports how many bytes
// they had.
type reader struct {
	may func(context.Context, *p2p.Stream) error
	got chan int
}

func (r *reader) serve(ctx context.Context, s *p2p.Stream) error {
	if err := r.may(ctx, s); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, s)
	r.got <- int(n)
	return err
}

// mux serves every peer on the route any.
func (r *reader) mux() *p2p.Mux {
	var mux p2p.Mux
	mux.HandleFunc("any", p2p.Anyone, r.serve)
	return &mux
}

// much is more than the initial windows hold.
const much = 512 << 10

// A stream that the other side does not read does not hold up the peer's
// metadata.
func TestUnreadStreamHoldsUpNoMetadata(t *testing.T) {
	t.Parallel()
	r := &reader{got: make(chan int, 1)}
	read := make(chan struct{})
	r.may = func(ctx context.Context, s *p2p.Stream) error {
		select {
		case <-read:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	server := start(t, p2p.Config{Handler: r.mux()}, quic.Config{})
	client := start(t, p2p.Config{Metadata: map[string]string{"is": "old"}}, quic.Config{})
	peer := client.knows(t, server)
	s, err := peer.Open(within(t), "any")
	require.NoError(t, err)
	defer s.Close()
	_, err = peer.WaitMetadata(within(t))
	require.NoError(t, err)
	written := make(chan error, 1)
	go func() {
		_, err := s.Write(make([]byte, much))
		written <- err
	}()
	is := func(value string) {
		until(t, server, func() bool {
			peer, known := server.Peer(client.Identity())
			return known && peer.Info().Metadata["is"] == value
		})
	}
	is("old")
	for i := range 8 { // the windows fill up before the last write
		now := strconv.Itoa(i)
		require.NoError(t, client.UpdateMetadata(func(m map[string]string) { m["is"] = now }))
		is(now)
	}
	close(read)
	require.NoError(t, receive(t, written))
	require.NoError(t, s.CloseWrite())
	require.Equal(t, much, receive(t, r.got))
}

// Handlers that wait for the peer's metadata before they read anything do get
// it, however much data waits to be read, and on however many streams.
func TestUnreadStreamsHoldUpNoIntroduction(t *testing.T) {
	t.Parallel()
	const streams = 16
	r := &reader{got: make(chan int, streams)}
	r.may = func(ctx context.Context, s *p2p.Stream) error {
		_, err := s.Peer().WaitMetadata(ctx)
		return err
	}
	server := start(t, p2p.Config{Handler: r.mux()}, quic.Config{})
	client := start(t, p2p.Config{}, quic.Config{})
	// With version 2 as a hint, nothing waits for the introduction.
	via := []p2p.Candidate{{Kind: p2p.Direct, Addr: server.addr(), Version: 2}}
	require.NoError(t, client.scope.Discovered(server.Identity(), nil, via))
	peer := client.peer(t, server.Identity())
	written := make(chan error, streams)
	for range streams {
		go func() {
			s, err := peer.Open(within(t), "any")
			if err == nil {
				_, err = s.Write(make([]byte, much))
				err = errors.Join(err, s.Close())
			}
			written <- err
		}()
	}
	for range streams {
		require.NoError(t, receive(t, written))
		require.Equal(t, much, receive(t, r.got))
	}
}
