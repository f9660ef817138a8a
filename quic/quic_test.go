package quic_test

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
)

// patience bounds the waits of tests; nothing takes that long, even on a busy
// machine.
const patience = time.Minute

// A book is a discovery that reports the peers that a test names.
type book struct{ scope chan *p2p.Scope }

func newBook() *book { return &book{make(chan *p2p.Scope, 1)} }

func (b *book) Name() string { return "book" }

func (b *book) Run(ctx context.Context, s *p2p.Scope) error {
	b.scope <- s
	s.Ready()
	<-ctx.Done()
	return nil
}

// A node is a node with a listener and a book.
type node struct {
	*p2p.P2P
	listener *quic.Listener
	scope    *p2p.Scope // the book's scope
}

func start(t testing.TB, cfg p2p.Config, qc quic.Config) *node {
	t.Helper()
	if qc.TellStrangers == quic.AsAnnounced { // most tests leave the nodes strangers
		qc.TellStrangers = quic.Everything
	}
	if qc.Limits.StrangerIdle == 0 { // a busy machine takes its time
		qc.Limits.StrangerIdle = -1
	}
	if qc.DialTimeout == 0 {
		qc.DialTimeout = patience
	}
	return startExactly(t, cfg, qc)
}

// startExactly is start without changes to the configuration.
func startExactly(t testing.TB, cfg p2p.Config, qc quic.Config) *node {
	t.Helper()
	b := newBook()
	n := &node{listener: quic.New(qc)}
	cfg.App = "test"
	cfg.Hooks = append(cfg.Hooks, n.listener, b)
	var err error
	n.P2P, err = p2p.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, n.Shutdown(ctx))
	})
	n.scope = <-b.scope
	return n
}

// addr returns the node's address on loopback.
func (n *node) addr() netip.AddrPort {
	port, _ := n.listener.Port()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

// knows has n discover the other node and returns it as a peer.
func (n *node) knows(t testing.TB, other *node, via ...netip.AddrPort) *p2p.Peer {
	t.Helper()
	if via == nil {
		via = []netip.AddrPort{other.addr()}
	}
	var candidates []p2p.Candidate
	for _, addr := range via {
		candidates = append(candidates, p2p.Candidate{Kind: p2p.Direct, Addr: addr})
	}
	require.NoError(t, n.scope.Discovered(other.Identity(), nil, candidates))
	return n.peer(t, other.Identity())
}

func (n *node) peer(t testing.TB, id identity.RemoteIdentity) *p2p.Peer {
	t.Helper()
	peer, ok := n.Peer(id)
	require.True(t, ok)
	return peer
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// watch waits for an event for which match returns true.
func watch[E p2p.Event](t testing.TB, n *node, match func(E) bool) E {
	t.Helper()
	for e := range n.Watch(within(t)) {
		if e, ok := e.(E); ok && (match == nil || match(e)) {
			return e
		}
	}
	t.Fatal("no such event")
	panic("unreachable")
}

// receive waits for a value.
func receive[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-within(t).Done():
		t.Fatal("nothing came")
	}
	return v
}

// until waits for a condition whose changes events report.
func until(t testing.TB, n *node, holds func() bool) {
	t.Helper()
	for range n.Watch(within(t)) {
		if holds() {
			return
		}
	}
	t.Fatal("it did not become true")
}

func echo(_ context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
}

func exchange(t testing.TB, s *p2p.Stream, text string) {
	t.Helper()
	_, err := io.WriteString(s, text)
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	got, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
	require.NoError(t, s.Close())
}

func TestExchange(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{Name: "a", Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	b := start(t, p2p.Config{Name: "b", Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	peer := a.knows(t, b)
	for range 3 {
		s, err := peer.NewStream(within(t))
		require.NoError(t, err)
		require.Equal(t, 2, s.Version())
		exchange(t, s, "hello")
	}
	metadata, err := peer.WaitMetadata(within(t))
	require.NoError(t, err)
	require.Equal(t, "b", metadata["name"])
	back := b.peer(t, a.Identity())
	metadata, err = back.WaitMetadata(within(t))
	require.NoError(t, err)
	require.Equal(t, "a", metadata["name"])
	s, err := back.NewStream(within(t)) // over the same connection
	require.NoError(t, err)
	exchange(t, s, "and back")
	info := peer.Info()
	require.Len(t, info.Connections, 1)
	require.Len(t, back.Info().Connections, 1)
	require.Equal(t, b.addr(), info.Path.Remote)
	require.Positive(t, info.Connections[0].RTT)
}

// A listener may be unregistered and registered again, with another node as
// well.
func TestListenerIsReused(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	peer := a.knows(t, b)
	for range 3 {
		s, err := peer.NewStream(within(t))
		require.NoError(t, err)
		exchange(t, s, "hello")
		require.NoError(t, a.Unregister(within(t), a.listener))
		require.False(t, peer.Connected())
		_, err = peer.NewStream(within(t))
		require.ErrorIs(t, err, p2p.ErrNoListener)
		require.NoError(t, a.Register(within(t), a.listener))
	}
}
