package quic_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/proto"
)

// A recorded is a recorded conversation between a node of the first
// implementation and another node. The tests in this file replay one side of it
// to a node.
type recorded struct {
	Identities map[string]struct {
		Seed   string `json:"seed"`
		Remote string `json:"remote_hex"`
	} `json:"identities"`
	Select  exchanged `json:"select_sdp2p_1"`
	Mode1   exchanged `json:"mode1_rust_opens"`
	Mode0   exchanged `json:"mode0_rust_opens"`
	Answers exchanged `json:"mode0_rust_answers"`
	Unknown exchanged `json:"unknown_protocol"`
}

type exchanged struct {
	Steps []string `json:"steps"`
}

func readRecorded(t testing.TB) (r recorded) {
	b, err := os.ReadFile("../testdata/rust_peer.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &r))
	return r
}

// step returns the bytes of the i-th step, which the given side must have sent.
func (e exchanged) step(t testing.TB, i int, side string) []byte {
	t.Helper()
	text, ok := strings.CutPrefix(e.Steps[i], side+" ")
	require.True(t, ok, e.Steps[i])
	text = strings.TrimSuffix(text, " end")
	return unhex(t, strings.ReplaceAll(text, " ", ""))
}

// identity returns a key from the recording.
func (r recorded) identity(t testing.TB, who string) (seed, public []byte) {
	return unhex(t, r.Identities[who].Seed), unhex(t, r.Identities[who].Remote)
}

// hello returns what the Rust node sends as the opener in mode 0: with the map
// that it sends in mode 1, which the recording does not repeat.
func (r recorded) hello(t testing.TB) []byte {
	return append([]byte{0}, r.Mode1.step(t, 2, ">")...)
}

// rustMetadata returns the Rust node's metadata.
func (r recorded) rustMetadata(t testing.TB) (m v1.Metadata) {
	var again v1.Metadata
	require.NoError(t, m.DecodeFrom(proto.NewDecoder(bytes.NewReader(r.Answers.step(t, 0, ">")))))
	require.NoError(t, again.DecodeFrom(proto.NewDecoder(bytes.NewReader(r.Mode1.step(t, 2, ">")[32:]))))
	require.Equal(t, m, again)
	return m
}

// other starts the node that the Rust node talked to, and returns a foreigner
// to take the Rust node's place. The node's handler answers the app's ping.
func (r recorded) other(t testing.TB) (*node, *foreigner) {
	seed, public := r.identity(t, "other")
	n := startWith(t, seed, map[string]string{"name": "raw"}, p2p.Config{Handler: p2p.HandlerFunc(pong)})
	key := n.Identity().Bytes()
	require.Equal(t, public, key[:])
	seed, public = r.identity(t, "rust")
	f := newForeigner(t, ed25519Key(t, seed))
	require.Equal(t, public, []byte(f.id.PublicKey()))
	return n, f
}

func pong(_ context.Context, s *p2p.Stream) error {
	b := make([]byte, 1)
	if _, err := io.ReadFull(s, b); err != nil || b[0] != 1 {
		return p2p.ErrRefused
	}
	_, err := io.WriteString(s, "PONG")
	return err
}

// selects opens a stream as the Rust node does, token by token.
func (r recorded) selects(t testing.TB, f *foreigner, to *node) network.Stream {
	t.Helper()
	s, err := f.connect(t, to).NewStream(within(t))
	require.NoError(t, err)
	for i := 0; i < len(r.Select.Steps); i += 2 {
		token := r.Select.step(t, i, ">")
		_, err := s.Write(token)
		require.NoError(t, err)
		readExactly(t, s, token)
	}
	return s
}

// answers answers protocol selections as the Rust node does, and runs serve on
// streams of version 1.
func (r recorded) answers(t testing.TB, f *foreigner, serve func(s network.Stream) error) {
	header, token := r.Select.step(t, 0, ">"), r.Select.step(t, 2, ">")
	unknown := r.Unknown.step(t, 0, ">")
	f.SetStreamHandler(func(s network.Stream) {
		asked := make([]byte, len(header)+1)
		_, err := io.ReadFull(s, asked)
		name := make([]byte, asked[len(header)])
		if err == nil {
			_, err = io.ReadFull(s, name)
		}
		switch {
		case err != nil:
			s.Reset()
		case !bytes.Equal(name, token[1:]):
			s.Write(unknown)
		default:
			s.Write(append(bytes.Clone(header), token...))
			if err := serve(s); err != nil {
				t.Error(err)
			}
			s.Close()
		}
	})
}

// The Rust node opens: in mode 1, and in mode 0.
func TestReplayRustOpens(t *testing.T) {
	t.Parallel()
	r := readRecorded(t)
	n, f := r.other(t)
	s := r.selects(t, f, n) // mode 1
	for i, side := range []string{">", "<", ">", "<"} {
		if side == "<" {
			readExactly(t, s, r.Mode1.step(t, i, side))
			continue
		}
		_, err := s.Write(r.Mode1.step(t, i, side))
		require.NoError(t, err)
	}
	require.NoError(t, s.CloseWrite())
	_, err := s.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	peer := watch(t, n, func(e p2p.PeerDiscoveredBy) bool { return e.Hook == "quic" }).Peer
	require.Equal(t, f.id, peer.Identity())
	require.Equal(t, map[string]string(r.rustMetadata(t)), peer.Info().Metadata)
	require.Equal(t, "direct "+f.addr.String(), peer.Info().Candidates[0].String())

	s = r.selects(t, f, n) // mode 0
	_, err = s.Write(r.hello(t))
	require.NoError(t, err)
	readExactly(t, s, r.Mode0.step(t, 1, "<"))
	_, err = s.Write(r.Mode0.step(t, 2, ">"))
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	got, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, "PONG", string(got))
}

// The Rust node answers: a stream, and the question for our own protocol.
func TestReplayRustAnswers(t *testing.T) {
	t.Parallel()
	r := readRecorded(t)
	n, f := r.other(t)
	_, public := r.identity(t, "other")
	sent := bytes.Join([][]byte{{0}, public, r.Mode0.step(t, 1, "<")}, nil)
	got := make(chan []byte, 2)
	r.answers(t, f, func(s network.Stream) error {
		b := make([]byte, len(sent))
		if _, err := io.ReadFull(s, b); err != nil {
			return err
		}
		s.Write(r.Answers.step(t, 0, ">"))
		ping, err := io.ReadAll(s)
		s.Write(r.Answers.step(t, 1, ">"))
		got <- b
		got <- ping
		return err
	})
	s, err := n.discovers(t, f, 0).NewStream(within(t))
	require.NoError(t, err)
	require.Equal(t, map[string]string(r.rustMetadata(t)), s.Peer().Info().Metadata)
	_, err = s.Write([]byte{1})
	require.NoError(t, err)
	exchangeRest(t, s, "PONG")
	require.Equal(t, sent, receive(t, got))
	require.Equal(t, []byte{1}, receive(t, got))
}

// A node in the Rust node's place sends the same bytes, except for the order of
// its map.
func TestReplayInTheRustNodesPlace(t *testing.T) {
	t.Parallel()
	r := readRecorded(t)
	seed, public := r.identity(t, "rust")
	n := startWith(t, seed, r.rustMetadata(t), p2p.Config{Handler: p2p.HandlerFunc(pong)})
	seed, _ = r.identity(t, "other")
	f := newForeigner(t, ed25519Key(t, seed))
	hello := func(s network.Stream) error { // reads the node's hello, and compares it
		var h v1.Hello
		b := make([]byte, len(r.Mode1.step(t, 2, ">")))
		if _, err := io.ReadFull(s, b); err != nil {
			return err
		}
		if !bytes.Equal(b[:40], r.Mode1.step(t, 2, ">")[:40]) {
			t.Errorf("identity and length: %x", b)
		}
		err := h.DecodeFrom(proto.NewDecoder(bytes.NewReader(b)))
		require.Equal(t, r.rustMetadata(t), h.Metadata)
		require.Equal(t, public, h.Identity[:])
		return err
	}
	said := make(chan []byte, 8)
	r.answers(t, f, func(s network.Stream) error {
		mode := make([]byte, 1)
		if _, err := io.ReadFull(s, mode); err != nil {
			return err
		}
		if mode[0] == 1 {
			s.Write(r.Mode1.step(t, 1, "<"))
		}
		if err := hello(s); err != nil {
			return err
		}
		s.Write(r.Mode1.step(t, 3, "<"))
		rest, err := io.ReadAll(s)
		said <- append(mode, rest...)
		return err
	})
	require.NoError(t, n.listener.SetManualPeers([]string{f.addr.String()}))
	require.Equal(t, r.Mode1.step(t, 0, ">"), receive(t, said))
	peer := watch(t, n, func(e p2p.PeerDiscoveredBy) bool { return e.Hook == "quic" }).Peer
	require.Equal(t, f.id, peer.Identity())
	require.Equal(t, "raw", peer.Name())
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	_, err = s.Write(r.Mode0.step(t, 2, ">"))
	require.NoError(t, err)
	exchangeRest(t, s, "")
	require.Equal(t, append([]byte{0}, r.Mode0.step(t, 2, ">")...), receive(t, said))

	in := f.open(t, n, "/sdp2p/1")
	_, err = in.Write(bytes.Join([][]byte{{0}, r.Mode1.step(t, 1, "<"), r.Mode0.step(t, 1, "<"), {1}}, nil))
	require.NoError(t, err)
	require.NoError(t, in.CloseWrite())
	got, err := io.ReadAll(in)
	require.NoError(t, err)
	recordedAnswer := r.Answers.step(t, 0, ">")
	require.Equal(t, recordedAnswer[:8], got[:8])
	var answer v1.Metadata
	require.NoError(t, answer.DecodeFrom(proto.NewDecoder(bytes.NewReader(got))))
	require.Equal(t, r.rustMetadata(t), answer)
	require.Equal(t, string(r.Answers.step(t, 1, ">")), string(got[len(recordedAnswer):]))
}

// The Rust node ends the stream without an answer if it receives metadata of
// more than 1000 bytes, another identity or an unknown mode: a node never sends
// it any of these. A node refuses the latter two, and accepts metadata of up to
// 8 KiB.
func TestReplayRefusals(t *testing.T) {
	t.Parallel()
	r := readRecorded(t)
	n, f := r.other(t)
	require.NoError(t, n.UpdateMetadata(func(m map[string]string) {
		for i := range p2p.MaxLibraries {
			m["6ba7b810-9dad-11d1-80b4-0000000000"+string("0123456789abcdef"[i/16])+string("0123456789abcdef"[i%16])] = identity.New().Remote().String()
		}
	}))
	sizes := make(chan uint64, 1)
	r.answers(t, f, func(s network.Stream) error {
		var h v1.Hello
		d := proto.NewDecoder(s)
		d.Fixed(make([]byte, 1))
		if err := h.DecodeFrom(d); err != nil {
			return err
		}
		b, err := h.Metadata.AppendBinary(nil)
		sizes <- uint64(len(b) - 8)
		s.Write(r.Answers.step(t, 0, ">"))
		return err
	})
	s, err := n.discovers(t, f, 0).NewStream(within(t))
	require.NoError(t, err)
	size := receive(t, sizes)
	require.LessOrEqual(t, size, uint64(v1.MaxPeerMetadata))
	require.Greater(t, size, uint64(900))
	s.Close() // the peer has stopped reading

	hello := r.hello(t)
	stranger := newForeigner(t, ed25519Key(t, randomBytes(32)))
	for name, test := range map[string]struct {
		from    *foreigner
		b       []byte
		refused bool
	}{
		"as recorded": {f, hello, false},
		"wrong":       {stranger, hello, true},
		"mode 2":      {f, append([]byte{2}, hello[1:]...), true},
		"1001 bytes":  {f, large(t, f.id, 1001), false},
		"over 8 KiB":  {f, large(t, f.id, 8193), true},
		"8 KiB":       {f, large(t, f.id, 8192), false},
	} {
		in := r.selects(t, test.from, n)
		_, err := in.Write(append(bytes.Clone(test.b), 1))
		if err == nil {
			err = in.CloseWrite()
		}
		if !test.refused { // if refused, the stream may be closed by now
			require.NoError(t, err, name)
		}
		got, err := io.ReadAll(in)
		if test.refused {
			require.Error(t, err, name)
			require.Empty(t, got, name)
			continue
		}
		require.NoError(t, err, name)
		require.True(t, bytes.HasSuffix(got, []byte("PONG")), name)
	}
}

// large returns a hello whose metadata takes size bytes of MessagePack.
func large(t testing.TB, id identity.RemoteIdentity, size int) []byte {
	key := id.Bytes()
	b := append(append([]byte{0}, key[:]...), proto.AppendUint64(nil, uint64(size))...)
	value := size - 3 - 3 // minus the map with its key, and the head of the value
	b = append(b, 0x81, 0xA1, 'k', 0xDA, byte(value>>8), byte(value))
	return append(b, bytes.Repeat([]byte("x"), value)...)
}
