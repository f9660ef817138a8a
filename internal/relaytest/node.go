package relaytest

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
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/internal/v1/intro"
	"github.com/sdp2p/p2p/proto"
)

// A Node is a node made only of go-libp2p's parts, as the first implementation
// is made of rust-libp2p's: it uses circuits with Noise and yamux, and echoes
// streams of /sdp2p/1.
type Node struct {
	*blankhost.BlankHost
	Self   identity.RemoteIdentity
	Served chan map[string]string // metadata of openers

	relay ma.Multiaddr
}

// StartNode starts a Node, which runs until the test ends. early makes it agree
// on yamux within Noise's handshake, as go-libp2p does and rust-libp2p does
// not.
func StartNode(t testing.TB, relay ma.Multiaddr, early bool) *Node {
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
	require.NoError(t, s.Listen(ma.StringCast("/ip4/0.0.0.0/udp/0/quic-v1")))
	muxers := []upgrader.StreamMuxer{{ID: muxer.ID, Muxer: muxer.DefaultTransport}}
	var said []upgrader.StreamMuxer
	if early {
		said = muxers
	}
	security, err := noise.New(noise.ID, key, said)
	require.NoError(t, err)
	up, err := upgrader.New([]sec.SecureTransport{security}, muxers, nil, nil, nil)
	require.NoError(t, err)
	n := &Node{BlankHost: blankhost.NewBlankHost(s, blankhost.WithEventBus(bus)), relay: relay, Served: make(chan map[string]string, 64)}
	require.NoError(t, client.AddTransport(n.BlankHost, up))
	n.Self, err = identity.FromBytes(public)
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
func (n *Node) serve(s network.Stream) {
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
	select {
	case n.Served <- hello.Metadata:
	default: // nobody receives
	}
	io.Copy(s, s)
}

// Reserve makes a reservation at the relay, so that the node can be called.
func (n *Node) Reserve(ctx context.Context) error {
	info, err := peer.AddrInfoFromP2pAddr(n.relay)
	if err != nil {
		return err
	}
	_, err = client.Reserve(ctx, n, *info)
	return err
}

func peerID(id identity.RemoteIdentity) peer.ID { return peer.ID(circuit.AppendPeerID(nil, id)) }

// Call connects to one of our nodes through the relay.
func (n *Node) Call(ctx context.Context, to identity.RemoteIdentity) (network.Conn, error) {
	id := peerID(to)
	n.Peerstore().AddAddr(id, ma.StringCast(fmt.Sprintf("%s/p2p-circuit", n.relay)), peerstore.PermanentAddrTTL)
	n.Network().(*swarm.Swarm).Backoff().Clear(id)
	return n.Network().DialPeer(ctx, id)
}

// Open opens a stream to a connected node of ours, introduces itself, and
// returns the other node's metadata.
func (n *Node) Open(ctx context.Context, to identity.RemoteIdentity) (s network.Stream, told map[string]string, err error) {
	s, err = n.NewStream(network.WithAllowLimitedConn(ctx, "test"), peerID(to), intro.Protocol)
	if err != nil {
		return nil, nil, err
	}
	b, err := v1.Stream.AppendBinary(nil)
	if err == nil {
		b, err = (&v1.Hello{Identity: n.Self.Bytes(), Metadata: v1.Metadata{"name": "stock"}}).AppendBinary(b)
	}
	if err == nil {
		_, err = s.Write(b)
	}
	var metadata v1.Metadata
	if err == nil {
		err = metadata.DecodeFrom(proto.NewDecoder(s))
	}
	if err != nil {
		s.Reset()
		return nil, nil, err
	}
	return s, metadata, nil
}
