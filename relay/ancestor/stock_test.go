package ancestor

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/sec"
	blankhost "github.com/libp2p/go-libp2p/p2p/host/blank"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	muxer "github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/relaytest"
	"github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/internal/v1/intro"
	"github.com/sdp2p/p2p/proto"
)

// A stock is a node of go-libp2p's parts alone, as the first implementation is one of
// rust-libp2p's: circuits with Noise and yamux, streams of /sdp2p/1, which it echoes.
type stock struct {
	*blankhost.BlankHost
	id     identity.RemoteIdentity
	relay  *relaytest.Relay
	served chan map[string]string // what openers have said of themselves
}

// startStock starts one. early says that it agrees on yamux within Noise's handshake,
// as go-libp2p does and rust-libp2p does not.
func startStock(t testing.TB, r *relaytest.Relay, early bool) *stock {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	key, err := crypto.UnmarshalEd25519PrivateKey(private)
	require.NoError(t, err)
	self, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	store, err := pstoremem.NewPeerstore()
	require.NoError(t, err)
	require.NoError(t, store.AddPrivKey(self, key))
	require.NoError(t, store.AddPubKey(self, key.GetPublic()))
	reuse, err := quicreuse.NewConnManager(quicgo.StatelessResetKey{1}, quicgo.TokenGeneratorKey{2})
	require.NoError(t, err)
	bus := eventbus.NewBus()
	s, err := swarm.NewSwarm(self, store, bus)
	require.NoError(t, err)
	quic, err := libp2pquic.NewTransport(key, reuse, nil, nil, nil)
	require.NoError(t, err)
	require.NoError(t, s.AddTransport(quic))
	require.NoError(t, s.Listen(ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")))
	muxers := []upgrader.StreamMuxer{{ID: muxer.ID, Muxer: muxer.DefaultTransport}}
	var said []upgrader.StreamMuxer
	if early {
		said = muxers
	}
	security, err := noise.New(noise.ID, key, said)
	require.NoError(t, err)
	up, err := upgrader.New([]sec.SecureTransport{security}, muxers, nil, nil, nil)
	require.NoError(t, err)
	n := &stock{BlankHost: blankhost.NewBlankHost(s, blankhost.WithEventBus(bus)), relay: r, served: make(chan map[string]string, 64)}
	require.NoError(t, client.AddTransport(n.BlankHost, up))
	n.id, err = identity.FromBytes(public)
	require.NoError(t, err)
	n.SetStreamHandler(intro.Protocol, n.serve)
	t.Cleanup(func() {
		n.Close()
		reuse.Close()
		store.Close()
	})
	return n
}

// serve answers a stream, byte for byte as the first implementation does.
func (n *stock) serve(s network.Stream) {
	defer s.Close()
	d := proto.NewDecoder(s)
	var mode v1.Mode
	var hello v1.Hello
	if mode.DecodeFrom(d) != nil || mode != v1.Stream || hello.DecodeFrom(d) != nil {
		s.Reset()
		return
	}
	b, _ := v1.Metadata{"name": "stock"}.AppendBinary(nil)
	s.Write(b)
	n.served <- hello.Metadata
	io.Copy(s, s)
}

// reserve has the relay take calls for the node.
func (n *stock) reserve(t testing.TB) {
	t.Helper()
	info, err := peer.AddrInfoFromP2pAddr(n.relay.Addr())
	require.NoError(t, err)
	_, err = client.Reserve(within(t), n, *info)
	require.NoError(t, err)
}

// call connects to one of our nodes through the relay.
func (n *stock) call(t testing.TB, to identity.RemoteIdentity) (network.Conn, error) {
	t.Helper()
	id, err := peerID(to)
	require.NoError(t, err)
	n.Peerstore().AddAddr(id, ma.StringCast(fmt.Sprintf("%s/p2p-circuit", n.relay.Addr())), peerstore.PermanentAddrTTL)
	n.Network().(*swarm.Swarm).Backoff().Clear(id)
	return n.Network().DialPeer(within(t), id)
}

// open opens a stream to one of our nodes that is connected, and introduces itself.
func (n *stock) open(t testing.TB, to identity.RemoteIdentity) (s network.Stream, told map[string]string) {
	t.Helper()
	id, err := peerID(to)
	require.NoError(t, err)
	s, err = n.NewStream(within(t), id, intro.Protocol)
	require.NoError(t, err)
	b, err := v1.Stream.AppendBinary(nil)
	require.NoError(t, err)
	b, err = (&v1.Hello{Identity: n.id.Bytes(), Metadata: v1.Metadata{"name": "stock"}}).AppendBinary(b)
	require.NoError(t, err)
	_, err = s.Write(b)
	require.NoError(t, err)
	var metadata v1.Metadata
	require.NoError(t, metadata.DecodeFrom(proto.NewDecoder(s)))
	return s, metadata
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
