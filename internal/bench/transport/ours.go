package transport

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// ours are the SDK's transports: to a peer that is said to speak version 2, to
// one of which nothing is known, and to a route of a peer.
func ours() transport    { return sdk("SDK", 2, "") }
func unknown() transport { return sdk("SDK, version unknown", 0, "") }
func routed() transport  { return sdk("SDK, by route", 2, route) }

// route is the name of the route that is served.
const route = "bench"

func sdk(name string, version int, to string) transport {
	return transport{name, func(ctx context.Context) (listener, error) {
		var handler p2p.Handler = p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error { return serve(s) })
		if to != "" {
			var mux p2p.Mux
			mux.Handle(to, p2p.Anyone, handler)
			handler = &mux
		}
		n, err := startNode(ctx, handler)
		if err != nil {
			return nil, err
		}
		return &ourListener{n, version, to}, nil
	}}
}

// A node has a discovery that reports what it is told.
type node struct {
	*p2p.P2P
	listener *quic.Listener
	book     *book
}

func startNode(ctx context.Context, handler p2p.Handler, others ...p2p.Hook) (*node, error) {
	n := &node{listener: quic.New(quic.Config{}), book: &book{make(chan *p2p.Scope, 1)}}
	var err error
	n.P2P, err = p2p.Start(ctx, p2p.Config{
		App: "bench", Handler: handler, Logger: slog.New(slog.DiscardHandler), Hooks: append([]p2p.Hook{n.listener, n.book}, others...),
	})
	return n, err
}

func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n.Shutdown(ctx)
}

func (n *node) addr() netip.AddrPort {
	port, _ := n.listener.Port()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

type book struct{ scope chan *p2p.Scope }

// Name returns "book".
func (b *book) Name() string { return "book" }

// Run hands out its scope.
func (b *book) Run(ctx context.Context, s *p2p.Scope) error {
	b.scope <- s
	s.Ready()
	<-ctx.Done()
	return nil
}

type ourListener struct {
	*node
	version int // that the dialers are told
	route   string
}

func (l *ourListener) dialer(ctx context.Context, via netip.AddrPort) (dialer, error) {
	n, err := startNode(ctx, nil)
	if err != nil {
		return nil, err
	}
	scope := <-n.book.scope
	if err := scope.Discovered(l.Identity(), nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: via, Version: l.version}}); err != nil {
		n.close()
		return nil, err
	}
	peer, ok := n.Peer(l.Identity())
	if !ok {
		n.close()
		return nil, fmt.Errorf("%v was discovered and is not known", l.Identity())
	}
	return &ourDialer{n, peer, l.route}, nil
}

type ourDialer struct {
	*node
	peer  *p2p.Peer
	route string
}

func (d *ourDialer) open(ctx context.Context) (s stream, err error) {
	if d.route == "" {
		return own(d.peer.NewStream(ctx))
	}
	return own(d.peer.Open(ctx, d.route))
}

// own returns nil, and not a stream that is nil, where there is none.
func own(s *p2p.Stream, err error) (stream, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// within is a context for what happens on loopback.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, patience)
}

// pause waits, or returns earlier when ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
