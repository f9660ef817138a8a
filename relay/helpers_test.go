package relay

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	stock "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/relaytest"
	"github.com/sdp2p/p2p/quic"
)

// patience bounds the waits of tests; nothing takes that long, even on a busy
// machine.
const patience = time.Minute

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startStock starts a relay of go-libp2p, which requires no tokens.
func startStock(t testing.TB, options ...stock.Option) *stockRelay {
	t.Helper()
	r := relaytest.Start(t, options...)
	return &stockRelay{Server{Identity: r.Identity, Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), r.Port)}}, r.Close}
}

// A stockRelay is a relay of go-libp2p.
type stockRelay struct {
	Server
	close func()
}

// A book tracks peers, and discovers none.
type book struct{ scope chan *p2p.Scope }

func (*book) Name() string { return "book" }

func (b *book) Run(ctx context.Context, s *p2p.Scope) error {
	b.scope <- s
	s.Ready()
	<-ctx.Done()
	return nil
}

// A node is a node with a relay client.
type node struct {
	*p2p.P2P
	relays   *Client
	listener *quic.Listener
	scope    *p2p.Scope // the book's scope
}

func start(t testing.TB, cfg Config, servers ...Server) *node {
	t.Helper()
	n := &node{listener: quic.New(quic.Config{})}
	cfg.Listener, cfg.Servers = n.listener, servers
	n.relays = New(cfg)
	b := &book{make(chan *p2p.Scope, 1)}
	pc := p2p.Config{App: "test", Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error { _, err := io.Copy(s, s); return err })}
	pc.Hooks = []p2p.Hook{n.listener, n.relays, b}
	if testing.Verbose() {
		pc.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	n.P2P, err = p2p.Start(within(t), pc)
	require.NoError(t, err)
	n.scope = <-b.scope
	t.Cleanup(func() { n.Shutdown(context.Background()) })
	return n
}

// know has two nodes track each other.
func know(t testing.TB, a, b *node) (ofB, ofA *p2p.Peer) {
	t.Helper()
	ofB, ofA = a.scope.Track(b.Identity()), b.scope.Track(a.Identity())
	eventually(t, func() bool { return a.relays.isTracked(b.Identity()) && b.relays.isTracked(a.Identity()) }, "tracked")
	return ofB, ofA
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

// ready waits until a node can be called at a number of relays.
func (n *node) ready(t testing.TB, relays int) {
	t.Helper()
	eventually(t, func() bool {
		ready := 0
		for _, s := range n.relays.States() {
			if s.State == Ready {
				ready++
			}
		}
		return ready >= relays
	}, "ready")
}

// echo requires that data on a stream is echoed.
func echo(t testing.TB, s net.Conn, size int) {
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
