package quic

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// moving is a connection of two nodes on one host, with a stream on which
// numbers are echoed.
type moving struct {
	ours, theirs *conn
	stream       *p2p.Stream
	sent         uint64
}

func newMoving(t *testing.T) *moving {
	t.Helper()
	return newMovingWith(t, Config{})
}

// newMovingWith is newMoving with a configuration for the node that dials.
func newMovingWith(t *testing.T, from Config) *moving {
	t.Helper()
	return newMovingVia(t, from, nil, func(to netip.AddrPort) netip.AddrPort { return to })
}

// newMovingVia is newMovingWith, but both nodes call allow, and the node that
// is dialed is dialed at the address that via returns for its own.
func newMovingVia(t *testing.T, from Config, allow func(context.Context, p2p.Request) error, via func(netip.AddrPort) netip.AddrPort) *moving {
	t.Helper()
	start := func(cfg Config) (*p2p.P2P, *Listener) {
		cfg.DialTimeout, cfg.Limits = time.Minute, Limits{StrangerIdle: -1}
		l := New(cfg)
		node, err := p2p.Start(t.Context(), p2p.Config{App: "test", Allow: allow, Hooks: []p2p.Hook{l}, Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
			_, err := io.Copy(s, s)
			return err
		})})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, node.Shutdown(context.Background())) })
		return node, l
	}
	a, la := start(from)
	b, lb := start(Config{})
	port, _ := lb.Port()
	la.running().scope.Track(b.Identity())
	lb.running().scope.Track(a.Identity())
	raw, err := la.Dial(t.Context(), b.Identity(), []p2p.Candidate{{Kind: p2p.Direct, Addr: via(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))}})
	require.NoError(t, err)
	raw.Reset(p2p.ErrCanceled)
	m := &moving{ours: la.running().best(b.Identity())}
	require.Eventually(t, func() bool { m.theirs = lb.running().best(a.Identity()); return m.theirs != nil }, time.Minute, time.Millisecond)
	<-m.ours.known
	<-m.theirs.known
	peer, ok := a.Peer(b.Identity())
	require.True(t, ok)
	m.stream, err = peer.NewStream(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { m.stream.Reset(p2p.ErrCanceled) })
	return m
}

// talk sends the next n numbers, and requires them back in order.
func (m *moving) talk(t *testing.T, n int) {
	t.Helper()
	m.stream.SetDeadline(time.Now().Add(time.Minute))
	var b [8]byte
	for range n {
		local, remote := m.stream.Endpoints()
		require.NotNil(t, local)
		require.EqualValues(t, m.ours.path.Remote.Port(), remote.(*net.UDPAddr).Port)
		_, ok := m.stream.Exporter("label") // opens a tunnel meanwhile
		require.True(t, ok)
		m.sent++
		binary.LittleEndian.PutUint64(b[:], m.sent)
		_, err := m.stream.Write(b[:])
		require.NoError(t, err)
		_, err = io.ReadFull(m.stream, b[:])
		require.NoError(t, err)
		require.Equal(t, m.sent, binary.LittleEndian.Uint64(b[:]))
	}
}

func (m *moving) to(ip string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), m.ours.path.Remote.Port())
}

// A connection moves any number of times, to the same address of the peer and
// to another, and its streams go on.
func TestMoves(t *testing.T) {
	t.Parallel()
	m := newMovingWith(t, Config{slack: time.Minute})
	events := m.ours.endpoint.scope.Node().Subscribe()
	defer events.Close()
	m.talk(t, 10)
	ports := map[uint16]bool{}
	for i := range 20 {
		to := m.to([]string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}[i%3])
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		last := m.ours.mover.path
		require.NoError(t, m.ours.move(ctx, to), "move %d", i)
		cancel()
		if last != nil {
			require.ErrorIs(t, last.Switch(), quicgo.ErrPathClosed, "the path was closed, which frees its connection ID")
		}
		m.talk(t, 10)
		require.Equal(t, to, m.ours.remote())
		require.Equal(t, to, m.ours.Path().Remote)
		require.True(t, m.ours.endpoint.worked.is(m.ours.id, to), "later dials try this address first")
		ports[m.theirs.remote().Port()] = true
	}
	require.GreaterOrEqual(t, len(ports), 2, "the peer has seen other paths")
	require.LessOrEqual(t, len(m.ours.endpoint.spares.all), 2)
}

// A connection's packets are led to another address and back, whether it uses
// the endpoint's own socket, a path on it or a spare outlet: nothing is left of
// it afterwards.
func TestLead(t *testing.T) {
	t.Parallel()
	m := newMovingWith(t, Config{slack: time.Minute})
	c, main := m.ours, &m.ours.endpoint.main
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	elsewhere := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), m.ours.path.Remote.Port())
	there := func() {
		t.Helper()
		back, ok := c.lead(elsewhere)
		require.True(t, ok)
		m.talk(t, 3)
		back()
		m.talk(t, 3)
	}
	there()
	require.Empty(t, main.turned)
	for _, to := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.1"} {
		at := c.mover.at
		require.NoError(t, c.move(ctx, m.to(to)))
		require.NotEqual(t, at, c.mover.at, "the peer sees another path")
		there()
	}
	c.Close()
	<-c.ctx.Done()
	for _, o := range m.ours.endpoint.spares.all {
		require.Eventually(t, func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return len(o.turned) == 0
		}, time.Minute, time.Millisecond)
	}
}

// At one outlet, all connections to one address are led to the same other
// address, until the last of them has come back.
func TestOutletTurn(t *testing.T) {
	t.Parallel()
	var all spares
	defer all.close()
	o, err := all.get(0)
	require.NoError(t, err)
	same, err := all.get(0)
	require.NoError(t, err)
	require.Same(t, o, same)
	from, to := netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("127.0.0.2:9")
	first, ok := o.turn(from, to)
	require.True(t, ok)
	second, ok := o.turn(from, to)
	require.True(t, ok)
	first()
	first()
	_, ok = o.turn(from, from)
	require.False(t, ok, "another connection still uses the turn")
	second()
	last, ok := o.turn(from, from)
	require.True(t, ok)
	_, ok = o.turn(from, to)
	require.False(t, ok)
	last()
	require.Empty(t, o.turned)
}

// Nothing is left of a connection that ends while it is led elsewhere, or while
// it moves.
func TestEndsWhileItMoves(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	c := m.ours
	require.NoError(t, c.move(t.Context(), m.to("127.0.0.2")))
	o := c.mover.at.outlet
	require.NotNil(t, o)
	back, ok := c.lead(m.to("127.0.0.9"))
	require.True(t, ok)
	c.Close()
	require.Eventually(t, func() bool {
		c.mover.mu.Lock()
		defer c.mover.mu.Unlock()
		return c.mover.ended
	}, time.Minute, time.Millisecond)
	back()
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Empty(t, o.turned)
	require.Nil(t, c.mover.main(c.endpoint.socket, m.to("127.0.0.3")), "an ended connection gets no path, since none would close it")
}

// A connection that has just moved to an address of a family that was disabled
// meanwhile is closed, like the other connections of that family.
func TestMovesToDisabledFamily(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	e := m.ours.endpoint
	e.mu.Lock()
	e.disabled.ipv4 = true // as if this happened during the move
	e.mu.Unlock()
	require.ErrorIs(t, m.ours.move(t.Context(), m.to("127.0.0.2")), ErrDisabled)
	require.True(t, m.ours.gone())
}
