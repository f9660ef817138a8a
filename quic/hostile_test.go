package quic_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/quic"
)

// A hostile peer is a foreigner that accepts our metadata stream, so that we
// take it for a version 2 peer.
func newHostile(t testing.TB) *foreigner {
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	for _, protocol := range []string{"/sdp2p/2/meta", "/sdp2p/2"} {
		f.mux.AddHandler(protocol, func(_ string, s io.ReadWriteCloser) error {
			io.Copy(io.Discard, s)
			return s.Close()
		})
	}
	return f
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func closed(t testing.TB, c network.Conn) {
	t.Helper()
	require.Eventually(t, c.IsClosed, patience, time.Millisecond)
}

// Metadata that breaks the rules costs the connection; the log reports it once.
func TestHostileMetadata(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	n := start(t, p2p.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, quic.Config{})
	f := newHostile(t)
	good, err := proto.Metadata{"name": "f"}.AppendBinary(nil)
	require.NoError(t, err)
	entries := proto.AppendUint16(nil, 129)
	for i := range 129 {
		entries, _ = proto.AppendString(entries, string(rune('a'+i/26))+string(rune('a'+i%26)))
		entries, _ = proto.AppendString(entries, "")
	}
	for name, bytes := range map[string][]byte{
		"too many entries": entries,
		"too large":        append(proto.AppendUint16(nil, 40), bytes.Repeat(append([]byte{4, 0, 'n', 'a', 'm', 'e', 255, 0}, make([]byte, 255)...), 40)...),
		"random":           append([]byte{255, 255}, randomBytes(1<<12)...),
		"twice one key":    append([]byte{2, 0}, bytes.Repeat([]byte{1, 0, 'a', 0, 0}, 2)...),
		"good, then bad":   append(append([]byte{}, good...), 1, 0, 0, 0, 0, 0),
	} {
		s := f.open(t, n, "/sdp2p/2/meta")
		_, err := s.Write(bytes)
		require.NoError(t, err, name)
		closed(t, s.Conn())
	}
	for cut := 1; cut < len(good); cut++ {
		s := f.open(t, n, "/sdp2p/2/meta")
		_, err := s.Write(good[:cut])
		require.NoError(t, err)
		require.NoError(t, s.CloseWrite())
		closed(t, s.Conn())
	}
	s := f.open(t, n, "/sdp2p/2/meta")
	second, err := s.Conn().NewStream(within(t))
	require.NoError(t, err)
	_, err = io.WriteString(second, "\x13/multistream/1.0.0\n\x0e/sdp2p/2/meta\n")
	require.NoError(t, err)
	closed(t, s.Conn())
	require.Equal(t, 1, strings.Count(log.String(), "not valid"))

	s = f.open(t, n, "/sdp2p/2/meta") // a stream that ends between two messages breaks no rule
	_, err = s.Write(good)
	require.NoError(t, err)
	until(t, n, func() bool { peer, ok := n.Peer(f.id); return ok && peer.Verified() && peer.Name() == "f" })
	require.NoError(t, s.CloseWrite())
	_, err = io.Copy(io.Discard, s)
	require.Error(t, err, "reset")
	require.False(t, s.Conn().IsClosed())
}

// A stream that stays silent, or sends too little to tell its purpose, is reset
// after 5 s.
func TestSilentStreams(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{Handler: &p2p.Mux{}}, quic.Config{})
	f := newHostile(t)
	c := f.connect(t, n)
	var streams []network.Stream
	for _, said := range []string{"", "\x13/multistream", "\x13/multistream/1.0.0\n\x0e/sdp2p/2/m", "\x13/multistream/1.0.0\n\x09/sdp2p/1\n", "\x13/multistream/1.0.0\n\x09/sdp2p/1\n\x00abc", "\x13/multistream/1.0.0\n\x09/sdp2p/2\n", "\x13/multistream/1.0.0\n\x09/sdp2p/2\n\x05rou"} {
		s, err := c.NewStream(within(t))
		require.NoError(t, err)
		_, err = io.WriteString(s, said)
		require.NoError(t, err)
		streams = append(streams, s)
	}
	for i, s := range streams[1:] { // the other side has not seen the first one
		_, err := io.Copy(io.Discard, s)
		var reset *network.StreamError
		require.ErrorAs(t, err, &reset, i)
		require.Equal(t, network.StreamErrorCode(p2p.ErrTimeout), reset.ErrorCode, i)
	}
	require.False(t, c.IsClosed())
}

// Random bytes on any kind of stream cost only that stream.
func TestHostileStreams(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	f := newHostile(t)
	c := f.connect(t, n)
	for i := range 100 {
		s, err := c.NewStream(within(t))
		require.NoError(t, err)
		_, err = s.Write(randomBytes(1 + i*10))
		require.NoError(t, err)
		s.CloseWrite()
		_, err = io.Copy(io.Discard, s)
		require.Error(t, err)
		s.Reset()
	}
	s := f.open(t, n, "/sdp2p/2")
	_, err := s.Write([]byte("hello"))
	require.NoError(t, err)
	readExactly(t, s, []byte("hello"))
	require.NoError(t, s.Close())
}

// If a peer is expected to speak version 2, opening a stream waits for nothing:
// here the answer to the metadata stream never comes. If nothing is expected,
// opening waits for that answer, and fails without it.
func TestHint(t *testing.T) {
	t.Parallel()
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	f.SetStreamHandler(func(s network.Stream) {
		protocol, _, err := f.mux.Negotiate(s)
		if err == nil && protocol == "/sdp2p/2" {
			io.Copy(s, s)
		}
	})
	meta := make(chan struct{}, 4)
	f.mux.AddHandlerWithFunc("/sdp2p/2/meta", func(p string) bool {
		if p != "/sdp2p/2/meta" {
			return false
		}
		meta <- struct{}{}
		<-t.Context().Done() // never answers
		return false
	}, nil)
	f.mux.AddHandler("/sdp2p/2", nil)

	for _, said := range []int{0, 2} {
		n := start(t, p2p.Config{}, quic.Config{})
		require.NoError(t, n.scope.Discovered(f.id, nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: f.addr, Version: said}}))
		s, err := n.peer(t, f.id).NewStream(within(t))
		if said == 0 {
			var failed *p2p.DialError
			require.ErrorAs(t, err, &failed)
			continue
		}
		require.NoError(t, err)
		_, err = s.Write([]byte("at once"))
		require.NoError(t, err)
		got := make([]byte, 7)
		_, err = io.ReadFull(s, got)
		require.NoError(t, err)
		require.Equal(t, "at once", string(got))
		receive(t, meta) // the metadata stream was opened all the same
		s.Reset(p2p.ErrCanceled)
	}
}

// A peer whose key is not Ed25519 has no identity here.
func TestForeignKeys(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{})
	key, _, err := crypto.GenerateSecp256k1Key(rand.Reader)
	require.NoError(t, err)
	f := newForeigner(t, key)
	closed(t, f.connect(t, n))
	require.Empty(t, n.Peers())
	require.NoError(t, n.listener.SetManualPeers([]string{f.addr.String()}))
	require.Eventually(t, func() bool { return n.manual(t).State == quic.ManualFailed }, patience, time.Millisecond)
	require.ErrorContains(t, n.manual(t).Err, "Ed25519")
}

// If no discovery announces the node, it tells a stranger nothing; once the
// stranger is tracked, it tells it everything.
func TestStrangerThatBecomesKnown(t *testing.T) {
	t.Parallel()
	n := startExactly(t, p2p.Config{Name: "n", Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	other := startExactly(t, p2p.Config{Name: "other"}, quic.Config{})
	peer := other.knows(t, n)
	open := func() {
		t.Helper()
		s, err := peer.NewStream(within(t))
		require.NoError(t, err)
		exchange(t, s, "hello")
	}
	open()
	metadata, err := peer.WaitMetadata(within(t))
	require.NoError(t, err)
	require.Empty(t, metadata)
	// The node that dials tells the other one everything.
	until(t, n, func() bool { p, ok := n.Peer(other.Identity()); return ok && p.Verified() && p.Name() == "other" })
	n.scope.Track(other.Identity())
	open()
	until(t, other, func() bool { return peer.Name() == "n" })
}
