package ancestor

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
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
