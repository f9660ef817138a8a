package quic_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/quic"
)

// A spacedrive is a foreigner that behaves like a node of the first
// implementation: its queue for inbound streams has length 0, accepting a
// stream takes a few milliseconds, and streams that arrive meanwhile are
// dropped. It echoes the others.
type spacedrive struct {
	*foreigner
	metadata v1.Metadata
	queue    chan network.Stream

	drop    func(n int32) bool // drops the n-th stream in any case; may be nil
	number  atomic.Int32       // number of streams
	opening atomic.Int32       // streams that wait for an answer
	most    atomic.Int32       // the most that waited at one time
	modes   chan v1.Mode       // modes of the streams that were served
}

func newSpacedrive(t testing.TB, metadata v1.Metadata) *spacedrive {
	return newSpacedriveWith(t, randomBytes(32), metadata)
}

func newSpacedriveWith(t testing.TB, seed []byte, metadata v1.Metadata) *spacedrive {
	s := &spacedrive{
		foreigner: newForeigner(t, ed25519Key(t, seed)), metadata: metadata,
		queue: make(chan network.Stream), modes: make(chan v1.Mode, 1024),
	}
	s.mux.AddHandler("/sdp2p/1", nil)
	s.SetStreamHandler(s.offer)
	done := make(chan struct{})
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			select {
			case <-done:
				return
			case in := <-s.queue:
				time.Sleep(3 * time.Millisecond) // accepting takes it a moment
				serving.Go(func() { s.serve(in) })
			}
		}
	})
	t.Cleanup(func() {
		close(done)
		s.Swarm.Close()
		serving.Wait()
	})
	return s
}

// offer puts a stream into the queue, or drops it.
func (s *spacedrive) offer(in network.Stream) {
	if _, _, err := s.mux.Negotiate(in); err != nil {
		in.Reset()
		return
	}
	n := s.number.Add(1)
	for now := s.opening.Add(1); ; {
		most := s.most.Load()
		if now <= most || s.most.CompareAndSwap(most, now) {
			break
		}
	}
	if s.drop == nil || !s.drop(n) {
		select {
		case s.queue <- in:
			return
		default:
		}
	}
	s.opening.Add(-1)
	switch n % 4 { // all four ways were seen
	case 0:
		in.Close()
	case 2:
		in.CloseWrite()
	default:
		in.Reset()
	}
}

// serve answers a stream.
func (s *spacedrive) serve(in network.Stream) {
	defer in.Close()
	d := proto.NewDecoder(in)
	var mode v1.Mode
	var hello v1.Hello
	err := mode.DecodeFrom(d)
	if err == nil && mode == v1.Identify {
		_, err = in.Write(s.id.PublicKey())
	}
	if err == nil {
		err = hello.DecodeFrom(d)
	}
	s.opening.Add(-1)
	answer, _ := s.metadata.AppendBinary(nil)
	if err == nil {
		_, err = in.Write(answer)
	}
	if err != nil {
		in.Reset()
		return
	}
	s.modes <- mode
	if mode == v1.Stream {
		io.Copy(in, in)
	}
}

// discovers has a node discover the peer with a version as a hint.
func (n *node) discovers(t testing.TB, f *foreigner, version int) *p2p.Peer {
	t.Helper()
	require.NoError(t, n.scope.Discovered(f.id, nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: f.addr, Version: version}}))
	return n.peer(t, f.id)
}

// A version 1 peer drops streams that are opened at the same time: the node
// opens them one after the other, and all arrive.
func TestManyStreamsToAnAncestor(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{})
	s := newSpacedrive(t, v1.Metadata{"name": "rust"})
	peer := n.discovers(t, s.foreigner, 0)
	var all sync.WaitGroup
	errs := make(chan error, 100)
	ctx := within(t)
	for i := range 100 {
		all.Go(func() { errs <- send(ctx, peer, fmt.Sprint("stream ", i)) })
	}
	all.Wait()
	for range 100 {
		require.NoError(t, <-errs)
	}
	require.EqualValues(t, 1, s.most.Load(), "streams are opened one at a time")
}

// send opens a stream and requires the peer to echo a text.
func send(ctx context.Context, peer *p2p.Peer, text string) error {
	s, err := peer.NewStream(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := io.WriteString(s, text); err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(s)
	if err == nil && string(got) != text {
		err = fmt.Errorf("%q instead of %q", got, text)
	}
	return err
}

// A stream that a version 1 peer has dropped is opened again, until ctx is
// done.
func TestAncestorDropsStreams(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{})
	s := newSpacedrive(t, nil)
	s.drop = func(n int32) bool { return n%3 != 0 }
	peer := n.discovers(t, s.foreigner, 0)
	for i := range 10 {
		require.NoError(t, send(within(t), peer, fmt.Sprint("stream ", i)))
	}
	require.EqualValues(t, 30, s.number.Load())

	always := newSpacedrive(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	always.drop = func(n int32) bool {
		if n == 5 {
			cancel()
		}
		return true
	}
	_, err := n.discovers(t, always.foreigner, 0).NewStream(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// A refusal is not a drop: the stream is not opened again.
func TestAncestorRefuses(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{})
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	f.mux.AddHandler("/sdp2p/1", func(_ string, s io.ReadWriteCloser) error {
		return s.(network.Stream).ResetWithError(network.StreamErrorCode(p2p.ErrRefused))
	})
	_, err := n.discovers(t, f, 0).NewStream(within(t))
	require.ErrorIs(t, err, p2p.ErrRefused)
	require.Len(t, f.asked, 1)
}

// A version 1 node may have more libraries and entries than our protocol
// allows, and is a peer all the same: streams of both sides arrive, with the
// same entries each time.
func TestAncestorOverLimits(t *testing.T) {
	t.Parallel()
	theirs := v1.Metadata{"name": "rust", "os": "Linux", "bad\x01": "key"}
	for i := range 65 {
		theirs[fmt.Sprintf("6ba7b810-9dad-11d1-80b4-%012x", i)] = "A"
	}
	for i := range 70 {
		theirs[fmt.Sprintf("x%02d", i)] = ""
	}
	n := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	s := newSpacedrive(t, theirs)
	peer := n.discovers(t, s.foreigner, 0)
	require.NoError(t, send(within(t), peer, "to it"))
	known := peer.Info().Metadata
	require.Len(t, known, 128)
	require.Equal(t, "rust", known["name"])
	require.Equal(t, "Linux", known["os"])
	require.Len(t, p2p.Libraries(known), p2p.MaxLibraries)
	require.NotContains(t, known, "6ba7b810-9dad-11d1-80b4-000000000040")
	require.NotContains(t, known, "x62")

	in := s.open(t, n, "/sdp2p/1")
	hello, err := (&v1.Hello{Identity: s.id.Bytes(), Metadata: theirs}).AppendBinary([]byte{0})
	require.NoError(t, err)
	_, err = in.Write(append(hello, "from it"...))
	require.NoError(t, err)
	require.NoError(t, new(v1.Metadata).DecodeFrom(proto.NewDecoder(in)))
	readExactly(t, in, []byte("from it"))
	require.Equal(t, known, peer.Info().Metadata)
	in.Reset()
}
