package quic_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/multiformats/go-multistream"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
)

// A foreigner is a node written directly on go-libp2p, as others would write
// one. It does not speak identify, and of our protocols only those that a test
// gives it.
type foreigner struct {
	*swarm.Swarm
	id    identity.RemoteIdentity
	addr  netip.AddrPort
	mux   *multistream.MultistreamMuxer[string]
	asked chan string // protocols that the other side has opened
}

func newForeigner(t testing.TB, key crypto.PrivKey) *foreigner {
	t.Helper()
	self, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	store, err := pstoremem.NewPeerstore()
	require.NoError(t, err)
	require.NoError(t, store.AddPrivKey(self, key))
	require.NoError(t, store.AddPubKey(self, key.GetPublic()))
	reuse, err := quicreuse.NewConnManager(quicgo.StatelessResetKey{1}, quicgo.TokenGeneratorKey{2})
	require.NoError(t, err)
	s, err := swarm.NewSwarm(self, store, eventbus.NewBus())
	require.NoError(t, err)
	transport, err := libp2pquic.NewTransport(key, reuse, nil, nil, nil)
	require.NoError(t, err)
	require.NoError(t, s.AddTransport(transport))
	require.NoError(t, s.Listen(ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")))
	f := &foreigner{Swarm: s, mux: multistream.NewMultistreamMuxer[string](), asked: make(chan string, 64)}
	if raw, err := key.GetPublic().Raw(); err == nil {
		f.id, _ = identity.FromBytes(raw)
	}
	inner, _ := ma.SplitLast(s.ListenAddresses()[0])
	addr, err := manet.ToNetAddr(inner)
	require.NoError(t, err)
	f.addr = netip.AddrPortFrom(addr.(*net.UDPAddr).AddrPort().Addr().Unmap(), addr.(*net.UDPAddr).AddrPort().Port())
	s.SetStreamHandler(func(s network.Stream) {
		protocol, h, err := f.mux.Negotiate(s)
		if err != nil {
			s.Reset()
			return
		}
		f.asked <- protocol
		h(protocol, s)
	})
	t.Cleanup(func() {
		s.Close()
		reuse.Close()
		store.Close()
	})
	return f
}

func ed25519Key(t testing.TB, seed []byte) crypto.PrivKey {
	t.Helper()
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed))
	require.NoError(t, err)
	return key
}

// open opens a stream of a protocol to one of our nodes.
func (f *foreigner) open(t testing.TB, to *node, protocol string) network.Stream {
	t.Helper()
	s, err := f.connect(t, to).NewStream(within(t))
	require.NoError(t, err)
	require.NoError(t, multistream.SelectProtoOrFail(protocol, s))
	return s
}

func (f *foreigner) connect(t testing.TB, to *node) network.Conn {
	t.Helper()
	key, err := crypto.UnmarshalEd25519PublicKey(to.Identity().PublicKey())
	require.NoError(t, err)
	id, err := peer.IDFromPublicKey(key)
	require.NoError(t, err)
	udp, err := manet.FromNetAddr(net.UDPAddrFromAddrPort(to.addr()))
	require.NoError(t, err)
	f.Peerstore().AddAddr(id, udp.Encapsulate(ma.StringCast("/quic-v1")), peerstore.PermanentAddrTTL)
	f.Backoff().Clear(id)
	c, err := f.DialPeer(within(t), id)
	require.NoError(t, err)
	return c
}

// The vectors describe both sides of the ancestor's protocol.
type ancestorVectors struct {
	InitiatorMetadata map[string]string `json:"initiator_metadata"`
	ResponderMetadata map[string]string `json:"responder_metadata"`
	InitiatorSeed     string            `json:"initiator_seed"`
	ResponderSeed     string            `json:"responder_seed"`
	Mode0Initiator    string            `json:"mode0_initiator_sends"`
	Mode0Responder    string            `json:"mode0_responder_sends"`
	Mode1First        string            `json:"mode1_initiator_sends_first"`
	Mode1Then         string            `json:"mode1_initiator_then_sends"`
	Mode1Identity     string            `json:"mode1_responder_sends_identity"`
	Mode1Metadata     string            `json:"mode1_responder_then_sends"`
}

func readAncestorVectors(t testing.TB) (v ancestorVectors) {
	b, err := os.ReadFile("../testdata/sdp2p1.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &v))
	return v
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// startWith starts one of our nodes, with exactly the given metadata.
func startWith(t testing.TB, seed []byte, metadata map[string]string, cfg p2p.Config) *node {
	id, err := identity.FromSeed(seed)
	require.NoError(t, err)
	cfg.Identity = id
	n := start(t, cfg, quic.Config{})
	require.NoError(t, n.UpdateMetadata(func(m map[string]string) {
		clear(m)
		for k, v := range metadata {
			m[k] = v
		}
	}))
	return n
}

func readExactly(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(r, got)
	require.NoError(t, err)
	require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got))
}

// An ancestor opens a stream to us: mode 0, as the responder.
func TestAncestorOpensAStream(t *testing.T) {
	t.Parallel()
	v := readAncestorVectors(t)
	served := make(chan *p2p.Stream, 1)
	n := startWith(t, unhex(t, v.ResponderSeed), v.ResponderMetadata, p2p.Config{
		Handler: p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error { served <- s; return echo(ctx, s) }),
	})
	f := newForeigner(t, ed25519Key(t, unhex(t, v.InitiatorSeed)))
	s := f.open(t, n, "/sdp2p/1")
	_, err := s.Write(append(unhex(t, v.Mode0Initiator), "\x01ping"...)) // all in one packet
	require.NoError(t, err)
	readExactly(t, s, unhex(t, v.Mode0Responder))
	readExactly(t, s, []byte("\x01ping"))
	got := receive(t, served)
	require.Equal(t, 1, got.Version())
	require.Equal(t, f.id, got.RemoteIdentity())
	require.Equal(t, v.InitiatorMetadata, got.Peer().Info().Metadata)
	require.True(t, got.Peer().Verified())
	require.NoError(t, s.CloseWrite())
	_, err = s.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.NoError(t, s.Close())
}

// We open a stream to an ancestor: mode 0, as the initiator. We recognize an
// ancestor by its refusal of the metadata stream, and remember that.
func TestStreamToAnAncestor(t *testing.T) {
	t.Parallel()
	v := readAncestorVectors(t)
	f := newForeigner(t, ed25519Key(t, unhex(t, v.ResponderSeed)))
	f.mux.AddHandler("/sdp2p/1", func(_ string, s io.ReadWriteCloser) error {
		got := make([]byte, len(v.Mode0Initiator)/2)
		io.ReadFull(s, got)
		if hex.EncodeToString(got) != v.Mode0Initiator {
			return s.(network.Stream).Reset()
		}
		s.Write(unhex(t, v.Mode0Responder))
		io.Copy(s, s)
		return s.Close()
	})
	n := startWith(t, unhex(t, v.InitiatorSeed), v.InitiatorMetadata, p2p.Config{})
	require.NoError(t, n.scope.Discovered(f.id, nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: f.addr}}))
	peer := n.peer(t, f.id)
	for range 2 {
		s, err := peer.NewStream(within(t))
		require.NoError(t, err)
		require.Equal(t, 1, s.Version())
		require.Equal(t, v.ResponderMetadata, peer.Info().Metadata)
		require.True(t, peer.Verified())
		exchange(t, s, "hello ancestor")
		require.Equal(t, "/sdp2p/1", receive(t, f.asked))
	}
}

// An ancestor whose manual peer we are asks who we are: mode 1, as the
// responder.
func TestAncestorAsksWhoWeAre(t *testing.T) {
	t.Parallel()
	v := readAncestorVectors(t)
	n := startWith(t, unhex(t, v.ResponderSeed), v.ResponderMetadata, p2p.Config{})
	f := newForeigner(t, ed25519Key(t, unhex(t, v.InitiatorSeed)))
	s := f.open(t, n, "/sdp2p/1")
	_, err := s.Write(unhex(t, v.Mode1First))
	require.NoError(t, err)
	readExactly(t, s, unhex(t, v.Mode1Identity))
	_, err = s.Write(unhex(t, v.Mode1Then))
	require.NoError(t, err)
	readExactly(t, s, unhex(t, v.Mode1Metadata))
	_, err = s.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.NoError(t, s.Close())

	peer := watch(t, n, func(e p2p.PeerDiscoveredBy) bool { return e.Hook == "quic" }).Peer
	require.Equal(t, f.id, peer.Identity())
	require.Len(t, peer.Info().Candidates, 1)
	require.Equal(t, "direct "+f.addr.String(), peer.Info().Candidates[0].String())
	require.Equal(t, v.InitiatorMetadata, peer.Info().Metadata)
	require.NoError(t, s.Conn().Close())
	until(t, n, func() bool { return !peer.Available() })
}

// An ancestor is our manual peer: mode 1, as the initiator.
func TestAncestorAsAManualPeer(t *testing.T) {
	t.Parallel()
	v := readAncestorVectors(t)
	f := newForeigner(t, ed25519Key(t, unhex(t, v.ResponderSeed)))
	done := make(chan string, 8)
	f.mux.AddHandler("/sdp2p/1", func(_ string, s io.ReadWriteCloser) error {
		first := make([]byte, 1)
		io.ReadFull(s, first)
		s.Write(unhex(t, v.Mode1Identity))
		then := make([]byte, len(v.Mode1Then)/2)
		io.ReadFull(s, then)
		s.Write(unhex(t, v.Mode1Metadata))
		done <- hex.EncodeToString(first) + hex.EncodeToString(then)
		return s.Close()
	})
	n := startWith(t, unhex(t, v.InitiatorSeed), v.InitiatorMetadata, p2p.Config{})
	require.NoError(t, n.listener.SetManualPeers([]string{f.addr.String()}))
	require.Equal(t, v.Mode1First+v.Mode1Then, receive(t, done))
	peer := watch(t, n, func(e p2p.PeerDiscoveredBy) bool { return e.Hook == "quic" }).Peer
	require.Equal(t, f.id, peer.Identity())
	require.Equal(t, v.ResponderMetadata, peer.Info().Metadata)
	require.NoError(t, n.listener.SetManualPeers(nil))
	until(t, n, func() bool { return len(peer.Info().DiscoveredBy) == 0 })
}

// A peer that claims another peer's identity is refused, and the log reports it
// once.
func TestAncestorClaimsAnotherIdentity(t *testing.T) {
	t.Parallel()
	v := readAncestorVectors(t)
	var log lockedBuffer
	served := false
	n := start(t, p2p.Config{
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		Handler: p2p.HandlerFunc(func(context.Context, *p2p.Stream) error { served = true; return nil }),
	}, quic.Config{})
	f := newForeigner(t, ed25519Key(t, bytes.Repeat([]byte{9}, 32)))
	for _, sent := range []string{v.Mode0Initiator, v.Mode1First + v.Mode1Then, v.Mode0Initiator} {
		s := f.open(t, n, "/sdp2p/1")
		_, err := s.Write(unhex(t, sent))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, s)
		var reset *network.StreamError
		require.ErrorAs(t, err, &reset)
		require.Equal(t, network.StreamErrorCode(p2p.ErrRefused), reset.ErrorCode)
	}
	require.False(t, served)
	require.Equal(t, 1, strings.Count(log.String(), "claims another identity"))
	require.False(t, n.peer(t, f.id).Verified())
}

// Garbage from an ancestor costs its stream and nothing else.
func TestAncestorSendsGarbage(t *testing.T) {
	t.Parallel()
	v := readAncestorVectors(t)
	n := startWith(t, unhex(t, v.ResponderSeed), v.ResponderMetadata, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	f := newForeigner(t, ed25519Key(t, unhex(t, v.InitiatorSeed)))
	hello := unhex(t, v.Mode0Initiator)
	send := func(name string, b []byte) {
		s := f.open(t, n, "/sdp2p/1")
		_, err := s.Write(b)
		require.NoError(t, err)
		s.CloseWrite() // the node may have reset the stream already
		_, err = io.Copy(io.Discard, s)
		require.Error(t, err, name)
	}
	for cut := range len(hello) {
		send("truncated", hello[:cut])
	}
	long := binary.LittleEndian.AppendUint64(hello[:33:33], 8<<10+1)
	send("over the limit", append(long, make([]byte, 8<<10+1)...))
	send("lying length", binary.LittleEndian.AppendUint64(hello[:33:33], 1<<62))
	send("unknown mode", append([]byte{2}, hello[1:]...))
	send("no map", append(hello[:41:41], bytes.Repeat([]byte{0xc1}, len(hello)-41)...))

	s := f.open(t, n, "/sdp2p/1")
	_, err := s.Write(hello)
	require.NoError(t, err)
	readExactly(t, s, unhex(t, v.Mode0Responder))
	s.Reset()
}

// lockedBuffer collects a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
