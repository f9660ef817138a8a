package faulttest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
)

// A Config is how a node is made.
type Config struct {
	Allow  func(context.Context, p2p.Request) error
	Relays []relay.Server
}

// A Node has the hooks that faults are about, and keeps its log.
type Node struct {
	*p2p.P2P
	Relays    *relay.Client
	Libraries *library.Libraries
	Log       *Log

	id       identity.Identity
	listener *quic.Listener
	find     *Finder
}

func start(t testing.TB, cfg Config) *Node {
	t.Helper()
	n := &Node{id: identity.New(), Log: &Log{}, listener: quic.New(quic.Config{}), find: &Finder{}}
	n.Libraries = library.New(library.Config{})
	n.Relays = relay.New(relay.Config{Listener: n.listener, Servers: cfg.Relays, Only: true})
	var mux p2p.Mux
	mux.HandleFunc("echo", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error { _, err := io.Copy(s, s); return err })
	mux.HandleFunc("mine", p2p.Access{}, func(context.Context, *p2p.Stream) error { return nil })
	mux.Handle(library.Route, p2p.Anyone, n.Libraries)
	var err error
	n.P2P, err = p2p.Start(t.Context(), p2p.Config{
		App: "test", Identity: n.id, Handler: &mux, Allow: cfg.Allow,
		Hooks:  []p2p.Hook{n.listener, n.find, n.Relays, n.Libraries},
		Logger: slog.New(slog.NewTextHandler(n.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	t.Cleanup(func() { n.Shutdown(context.Background()) })
	return n
}

// Addr returns where the node listens.
func (n *Node) Addr() netip.AddrPort {
	port, _ := n.listener.Port()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// finds has the node discover a peer at addresses.
func (n *Node) finds(t testing.TB, id identity.RemoteIdentity, at ...netip.AddrPort) *p2p.Peer {
	t.Helper()
	return n.find.Finds(t, id, "Phone", at...)
}

// A Log keeps what is written to it.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write keeps a line.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// String returns the lines.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A box is on the way to an address, and forwards packets until it is cut.
type box struct {
	front *net.UDPConn
	out   *net.UDPConn
	cut   atomic.Bool
	back  atomic.Pointer[netip.AddrPort]
}

func newBox(t testing.TB, to netip.AddrPort) *box {
	t.Helper()
	b := &box{}
	var err error
	b.front, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	b.out, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		b.pump(b.front, func(p []byte, from netip.AddrPort) {
			b.back.Store(&from)
			b.out.WriteToUDPAddrPort(p, to)
		})
	})
	running.Go(func() {
		b.pump(b.out, func(p []byte, _ netip.AddrPort) { b.front.WriteToUDPAddrPort(p, *b.back.Load()) })
	})
	t.Cleanup(func() {
		b.front.Close()
		b.out.Close()
		running.Wait()
	})
	return b
}

func (b *box) pump(in *net.UDPConn, forward func(packet []byte, from netip.AddrPort)) {
	for packet := make([]byte, 1<<16); ; {
		n, from, err := in.ReadFromUDPAddrPort(packet)
		if err != nil {
			return
		}
		if !b.cut.Load() {
			forward(packet[:n], from)
		}
	}
}

// Addr returns the address of the box.
func (b *box) Addr() netip.AddrPort { return b.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// Cut has the box forward nothing any more, as a firewall does, or a cable that
// was pulled.
func (b *box) Cut() { b.cut.Store(true) }
