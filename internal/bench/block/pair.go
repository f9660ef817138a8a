package block

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/bench/relay"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tunnel"
)

// patience limits how long it takes to start, to connect, and to shut down.
const patience = 20 * time.Second

// plenty of handshakes: a quick look, or a test, opens tunnels faster than a
// peer may.
var plenty = tunnel.Limits{PeerInFlight: 1 << 10, PeerPerSecond: 1 << 10, InFlight: 1 << 10, PerSecond: 1 << 10}

// A node has QUIC and libraries, and discovers the node at an address that it
// is told.
type node struct {
	*p2p.P2P
	listener  *quic.Listener
	libraries *library.Libraries
	id        identity.Identity
	instance  identity.Identity
}

// start starts a node that has handler for its streams, or none.
func start(ctx context.Context, handler *p2p.Mux, peers ...string) (*node, error) {
	n := &node{
		listener:  quic.New(quic.Config{ManualPeers: peers, IdleTimeout: -1}),
		libraries: library.New(library.Config{Limits: plenty}),
		id:        identity.New(),
		instance:  identity.New(),
	}
	if handler == nil {
		handler = new(p2p.Mux)
	}
	handler.Handle(library.Route, p2p.Anyone, n.libraries)
	var err error
	n.P2P, err = p2p.Start(ctx, p2p.Config{
		App: "bench", Identity: n.id, Handler: handler, Logger: slog.New(slog.DiscardHandler), Hooks: []p2p.Hook{n.listener, n.libraries},
	})
	return n, err
}

// A server serves a way. The stream is closed when it returns, or reset if it
// fails.
type server func(ctx context.Context, w way, s stream) error

// into is the server that receives into a folder.
func into(to string) server {
	return func(ctx context.Context, w way, s stream) error {
		defer expire(ctx, s)()
		return w.receive(ctx, s, to)
	}
}

// startReceiver starts a node that serves all ways.
func startReceiver(ctx context.Context, serve server) (*node, error) {
	var mux p2p.Mux
	for _, w := range served {
		mux.HandleFunc(w.route, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error { return serve(ctx, w, s) })
	}
	return start(ctx, &mux)
}

// startSender starts a node, and connects it with the node at an address.
func startSender(ctx context.Context, to netip.AddrPort) (*node, *p2p.Peer, error) {
	n, err := start(ctx, nil, to.String())
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for p := range n.Available(ctx) {
		return n, p, nil
	}
	n.close()
	return nil, nil, errors.New("nobody is found at " + to.String())
}

func (n *node) addr() netip.AddrPort {
	port, _ := n.listener.Port()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n.Shutdown(ctx)
}

// bare opens streams to the peer.
func bare(peer *p2p.Peer, w way) opener {
	return func(ctx context.Context) (stream, error) {
		s, err := peer.Open(ctx, w.route)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

// A pair is two nodes, a sender and a receiver with a folder, and a library
// that both are members of.
type pair struct {
	sender, receiver *node
	relay            *relay.Relay // nil: there is none between them
	peer             *p2p.Peer    // the receiver
	library          *library.Library
	to               string       // the folder
	serving          sync.RWMutex // held for reading by each who serves a stream
}

// newPair connects two nodes, through a relay if delay is not zero. The folder
// is made in dir.
func newPair(ctx context.Context, dir string, delay time.Duration) (p *pair, err error) {
	p = &pair{to: filepath.Join(dir, "to")}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err := p.empty(); err != nil {
		return p, err
	}
	receive := into(p.to)
	serve := func(ctx context.Context, w way, s stream) error {
		p.serving.RLock()
		defer p.serving.RUnlock()
		return receive(ctx, w, s)
	}
	if p.receiver, err = startReceiver(ctx, serve); err != nil {
		return p, err
	}
	at := p.receiver.addr()
	if delay > 0 {
		if p.relay, err = relay.New(at, delay); err != nil {
			return p, err
		}
		at = p.relay.Addr()
	}
	if p.sender, p.peer, err = startSender(ctx, at); err != nil {
		return p, err
	}
	theirs, err := p.receiver.libraries.Found("", library.RecoveryKey{})
	if err != nil {
		return p, err
	}
	r := theirs.Record()
	first, err := r.First(p.sender.id, p.sender.instance)
	if err != nil {
		return p, err
	}
	if _, err := theirs.Admit(first, library.RoleMember, "", library.RecoveryKey{}); err != nil {
		return p, err
	}
	if p.library, err = p.sender.libraries.Add(theirs.Record(), p.sender.instance); err != nil {
		return p, err
	}
	for _, l := range []*library.Library{theirs, p.library} {
		for _, w := range served {
			l.Handle(w.route, func(ctx context.Context, c *tunnel.Conn) error { return serve(ctx, w, c) })
		}
	}
	return p, nil
}

func (p *pair) close() {
	for _, n := range []*node{p.sender, p.receiver} {
		if n != nil {
			n.close()
		}
	}
	if p.relay != nil {
		p.relay.Close()
	}
}

// empty makes the folder anew.
func (p *pair) empty() error { return renew(p.to) }

// settle waits until the receiver has ended what it does, such as with files
// that it needs no more.
func (p *pair) settle() {
	p.serving.Lock()
	defer p.serving.Unlock()
}

func (p *pair) bare(w way) opener { return bare(p.peer, w) }

// tunneled opens streams in tunnels.
func (p *pair) tunneled(w way) opener {
	return func(ctx context.Context) (stream, error) {
		c, err := p.library.Open(ctx, p.library.Members()[0].Member.Instance, w.route)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
}
