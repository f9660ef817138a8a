package ancestor

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/relaytest"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
)

// patience bounds the waits of tests; nothing takes that long, even on a busy
// machine.
const patience = time.Minute

// A book tracks peers, discovers none, and reports the version of some.
type book struct {
	scope chan *p2p.Scope

	mu     sync.Mutex
	modern map[identity.RemoteIdentity]bool
}

func (*book) Name() string { return "book" }

func (b *book) Run(ctx context.Context, s *p2p.Scope) error {
	b.scope <- s
	s.Ready()
	<-ctx.Done()
	return nil
}

func (b *book) Speaks(id identity.RemoteIdentity) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.modern[id] {
		return 2
	}
	return 0
}

// A node is one of our nodes, with a relay client.
type node struct {
	*p2p.P2P
	relays   *relay.Client
	listener *quic.Listener
	old      *Listener
	book     *book
	scope    *p2p.Scope // the book's scope
}

func start(t testing.TB, r *relaytest.Relay, old *Listener) *node {
	t.Helper()
	n := &node{
		listener: quic.New(quic.Config{DialTimeout: 3 * time.Second}), old: old,
		book: &book{scope: make(chan *p2p.Scope, 1), modern: map[identity.RemoteIdentity]bool{}},
	}
	n.relays = relay.New(relay.Config{Listener: n.listener, Servers: []relay.Server{{
		Identity: r.Identity, Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), r.Port)},
	}}})
	c := p2p.Config{App: "test", Name: "ours", Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error { _, err := io.Copy(s, s); return err })}
	c.Hooks = []p2p.Hook{n.listener, n.relays, n.book}
	if old != nil {
		old.cfg.Relays = n.relays
		c.Hooks = slices.Insert(c.Hooks, 0, p2p.Hook(old)) // so that it is asked first to dial
	}
	if testing.Verbose() {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	n.P2P, err = p2p.Start(within(t), c)
	require.NoError(t, err)
	n.scope = <-n.book.scope
	t.Cleanup(func() { n.Shutdown(context.Background()) })
	return n
}

// track has the node, and with it its relay client, track a peer.
func (n *node) track(t testing.TB, id identity.RemoteIdentity) *p2p.Peer {
	t.Helper()
	peer := n.scope.Track(id)
	eventually(t, func() bool { return len(n.relays.Ways(id)) > 0 }, "tracked")
	return peer
}

// ready waits until a node can be called.
func (n *node) ready(t testing.TB) {
	t.Helper()
	eventually(t, func() bool { return n.relays.States()[0].State == relay.Ready }, "ready")
}

func eventually(t testing.TB, f func() bool, what string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			require.FailNow(t, "not in time", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// echo requires that data on a stream is echoed.
func echo(t testing.TB, s interface {
	io.ReadWriter
	SetDeadline(time.Time) error
}, size int) {
	t.Helper()
	b := make([]byte, size)
	rand.Read(b)
	s.SetDeadline(time.Now().Add(patience))
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(b)
		sent <- err
	}()
	back := make([]byte, size)
	_, err := io.ReadFull(s, back)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, b, back)
}

// A stock is a node like those of the first implementation.
type stock struct {
	*relaytest.Node
	id     identity.RemoteIdentity
	served chan map[string]string
}

func startStock(t testing.TB, r *relaytest.Relay, early bool) *stock {
	t.Helper()
	n := relaytest.StartNode(t, r.Addr(), early)
	return &stock{n, n.Self, n.Served}
}

// reserve makes a reservation, so that the node can be called.
func (n *stock) reserve(t testing.TB) {
	t.Helper()
	require.NoError(t, n.Reserve(within(t)))
}

// call connects to one of our nodes through the relay.
func (n *stock) call(t testing.TB, to identity.RemoteIdentity) (network.Conn, error) {
	t.Helper()
	return n.Call(within(t), to)
}

// open opens a stream to one of our nodes that is connected already.
func (n *stock) open(t testing.TB, to identity.RemoteIdentity) (s network.Stream, told map[string]string) {
	t.Helper()
	s, told, err := n.Open(within(t), to)
	require.NoError(t, err)
	return s, told
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// An end is one end of a circuit in memory.
type end struct{ net.Conn }

func (e end) CloseWrite() error { return errors.New("not done here") }

var relayAddr = netip.MustParseAddrPort("192.0.2.1:4001")

// circuits returns both ends of a circuit between two nodes, which a has
// opened.
func circuits(a, b identity.RemoteIdentity) (ofA, ofB junction.Line) {
	x, y := net.Pipe()
	through := identity.RemoteIdentity{}
	proven := func() {}
	return junction.Line{Stream: end{x}, Peer: b, Dialed: true, Relay: through, Addr: relayAddr, Proven: proven},
		junction.Line{Stream: end{y}, Peer: a, Relay: through, Addr: relayAddr, Proven: proven}
}

// alone starts a node with only the listener: tests hand it circuits.
func alone(t testing.TB, handler p2p.Handler, more ...p2p.Hook) (*p2p.P2P, *Listener) {
	t.Helper()
	l := New(Config{Relays: relay.New(relay.Config{})})
	n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Handler: handler, Hooks: append(more, l)})
	require.NoError(t, err)
	t.Cleanup(func() { n.Shutdown(context.Background()) })
	return n, l
}

// join connects two nodes over a circuit that a has opened.
func join(t testing.TB, a, b *p2p.P2P, la, lb *Listener) (ofB, ofA *p2p.Peer) {
	t.Helper()
	x, y := circuits(a.Identity(), b.Identity())
	taken := make(chan error, 1)
	go func() { taken <- taker{lb}.Take(t.Context(), y) }()
	require.NoError(t, taker{la}.Take(t.Context(), x))
	require.NoError(t, <-taken)
	ofB, ok := a.Peer(b.Identity())
	require.True(t, ok)
	ofA, ok = b.Peer(a.Identity())
	require.True(t, ok)
	return ofB, ofA
}
