package quic_test

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/quic"
)

// A pinned is a node with a stream to a version 1 peer, through a relay of UDP
// packets.
type pinned struct {
	*node
	ancestor *spacedrive
	relay    *relay
	peer     *p2p.Peer
	stream   *p2p.Stream
}

func newPinned(t *testing.T, seed []byte, cfg quic.Config) *pinned {
	p := &pinned{node: start(t, p2p.Config{}, cfg), ancestor: newSpacedriveWith(t, seed, nil)}
	p.relay = newRelay(t, p.ancestor.addr)
	p.announce(t, p.relay.addr)
	p.peer = p.node.peer(t, p.ancestor.id)
	var err error
	p.stream, err = p.peer.NewStream(within(t))
	require.NoError(t, err)
	t.Cleanup(func() { p.stream.Reset(p2p.ErrCanceled) })
	p.say(t)
	return p
}

func (p *pinned) announce(t *testing.T, at netip.AddrPort) {
	t.Helper()
	require.NoError(t, p.scope.Discovered(p.ancestor.id, nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: at, Version: 1}}))
}

// say has the peer echo a byte on the stream.
func (p *pinned) say(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(p.stream, "a")
	require.NoError(t, err)
	p.hear(t)
}

func (p *pinned) hear(t *testing.T) {
	t.Helper()
	_, err := io.ReadFull(p.stream, make([]byte, 1))
	require.NoError(t, err)
}

// lost waits for the end of the stream, and requires that another stream works.
func (p *pinned) lost(t *testing.T) {
	t.Helper()
	_, err := p.stream.Read(make([]byte, 1))
	require.ErrorIs(t, err, p2p.ErrConnectionLost)
	require.ErrorContains(t, err, "it was closed", "and not silent for 13 s")
	require.NoError(t, send(within(t), p.peer, "again"))
	onlyOne(t, p.peer)
}

// After this node's address has changed, a version 1 peer, whose connections
// cannot move, gets a new connection if it answers a handshake. If it does not
// answer, nothing changes.
func TestPinnedConnectionIsSuperseded(t *testing.T) {
	t.Parallel()
	p := newPinned(t, randomBytes(32), quic.Config{DialTimeout: time.Second})
	p.relay.drop()
	p.listener.Supersede(p.ancestor.id, false)
	p.relay.resume()
	p.say(t)
	require.Len(t, p.peer.Info().Connections, 1)

	p = newPinned(t, randomBytes(32), quic.Config{})
	p.listener.Supersede(p.ancestor.id, false)
	p.lost(t)
}

// If this node has meanwhile got its former address back, it gives the old
// connection up only if nothing is heard on it.
func TestPinnedConnectionLives(t *testing.T) {
	t.Parallel()
	p := newPinned(t, randomBytes(32), quic.WithSlack(quic.Config{}, time.Hour))
	done := make(chan struct{})
	go func() {
		p.listener.Supersede(p.ancestor.id, true)
		close(done)
	}()
	for open := true; open; {
		p.say(t)
		select {
		case <-done:
			open = false
		case <-time.After(time.Millisecond):
		}
	}
	p.say(t)
	require.Len(t, p.peer.Info().Connections, 2)
}

// A version 1 peer is silent if it does not acknowledge packets. As long as it
// acknowledges keep-alives, it is not.
func TestSilentAncestor(t *testing.T) {
	t.Parallel()
	p := newPinned(t, randomBytes(32), quic.WithSlack(quic.Config{}, time.Hour))
	ctx := within(t)
	require.False(t, p.listener.Silent(ctx, p.ancestor.id))
	require.NoError(t, ctx.Err(), "the peer has answered")

	p = newPinned(t, randomBytes(32), quic.Config{})
	p.relay.drop()
	_, err := io.WriteString(p.stream, "a")
	require.NoError(t, err)
	for !p.listener.Silent(ctx, p.ancestor.id) { // acknowledgments may have been on their way
		require.NoError(t, ctx.Err())
	}
	p.relay.resume()
	// The connection lives, unless the node has noticed the silence itself and made
	// a new connection before it heard the peer on the old one.
	if _, err = io.ReadFull(p.stream, make([]byte, 1)); err != nil {
		require.ErrorIs(t, err, p2p.ErrConnectionLost)
		require.NoError(t, send(within(t), p.peer, "again"))
		onlyOne(t, p.peer)
	}
}

// If nothing is heard from a version 1 peer on its connection, but the peer
// answers elsewhere, it gets a new connection.
func TestSilentAncestorIsReplaced(t *testing.T) {
	t.Parallel()
	p := newPinned(t, randomBytes(32), quic.Config{})
	p.relay.drop()
	require.NoError(t, p.scope.Discovered(p.ancestor.id, nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: p.ancestor.addr, Version: 1}}))
	_, err := io.WriteString(p.stream, "a")
	require.NoError(t, err)
	p.listener.Replace(p.ancestor.id)
	p.lost(t)
}

// A version 1 peer announces its new address: its old connection is given up if
// nothing is heard on it and the peer answers at that address.
func TestAncestorAnnouncedElsewhere(t *testing.T) {
	t.Parallel()
	seed := randomBytes(32)
	p := newPinned(t, seed, quic.Config{})
	p.relay.drop()
	_, err := io.WriteString(p.stream, "a")
	require.NoError(t, err)
	p.announce(t, newSpacedriveWith(t, seed, nil).addr)
	p.lost(t)
}

// A connection that a version 1 peer has dialed lives as long as this node has
// the address that the peer dialed; once that is gone, the node dials the peer.
func TestConnectionOfAnAncestorIsSuperseded(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	f := newSpacedrive(t, nil)
	peer := n.discovers(t, f.foreigner, 1)
	n.scope.Track(f.id)
	s := f.open(t, n, "/sdp2p/1")
	hello, err := (&v1.Hello{Identity: f.id.Bytes()}).AppendBinary([]byte{0})
	require.NoError(t, err)
	_, err = s.Write(hello)
	require.NoError(t, err)
	_, err = io.ReadFull(s, make([]byte, 1))
	require.NoError(t, err)

	was, now := netip.MustParseAddrPort("192.0.2.1:7373"), netip.MustParseAddrPort("127.0.0.1:7373")
	require.False(t, n.listener.Stranded(f.id, was.Addr(), was, now))
	require.False(t, n.listener.Stranded(f.id, now.Addr()))
	require.True(t, n.listener.Stranded(f.id, was.Addr(), now))
	n.listener.LookBack(f.id, was.Addr(), now)
	closed(t, s.Conn())
	require.NoError(t, send(within(t), peer, "again"))
	require.True(t, peer.Info().Path.Dialed)
}
