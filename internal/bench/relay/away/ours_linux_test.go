package away

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/token"
)

// ownNode is a node of ours.
type ownNode struct {
	node   *p2p.P2P
	relays *relay.Client
	log    *notices
}

func startOurs(ctx context.Context, a startArgs) (node, error) {
	n, err := newOurs(ctx, a)
	if err != nil {
		return nil, err
	}
	for ready := 0; ready < min(len(a.Relays), relay.Reservations); time.Sleep(pollEach) {
		ready = 0
		for _, s := range n.relays.States() {
			if s.State == relay.Ready {
				ready++
			}
		}
		if ctx.Err() != nil {
			return nil, n.relays.Wait(ctx)
		}
	}
	return n, nil
}

func newOurs(ctx context.Context, a startArgs) (*ownNode, error) {
	key, err := identity.FromSeed(a.Seed)
	if err != nil {
		return nil, err
	}
	shown, err := token.Token{
		Node: key.Remote(), Account: account, Rights: token.Reserve | token.Connect,
		NotBefore: time.Now().Add(-time.Minute), Expiry: time.Now().Add(time.Hour),
	}.Sign(issuer)
	if err != nil {
		return nil, err
	}
	var servers []relay.Server
	for _, r := range a.Relays {
		id, err := identity.Parse(r.Identity)
		if err != nil {
			return nil, err
		}
		servers = append(servers, relay.Server{Identity: id, Addrs: []netip.AddrPort{netip.MustParseAddrPort(r.Addr)}})
	}
	n := &ownNode{log: &notices{}}
	listener := quic.New(quic.Config{})
	n.relays = relay.New(relay.Config{Listener: listener, Servers: servers, Tokens: []token.Token{shown}, Only: a.Only})
	var routes p2p.Mux
	routes.HandleFunc("bench", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error { return serve(s) })
	n.node, err = p2p.Start(ctx, p2p.Config{
		App: "bench", Identity: key, Handler: &routes, Hooks: []p2p.Hook{listener, n.relays, &tracker{a.Track}}, Logger: slog.New(n.log),
	})
	return n, err
}

func (n *ownNode) id() string { return n.node.Identity().String() }

func (n *ownNode) peer(id string) *p2p.Peer {
	for _, p := range n.node.Tracked() {
		if p.Identity().String() == id {
			return p
		}
	}
	return nil
}

func (n *ownNode) open(ctx context.Context, peer string) (stream, error) {
	s, err := n.peer(peer).Open(ctx, "bench")
	if err != nil {
		return nil, err
	}
	return ownStream{s}, nil
}

type ownStream struct{ *p2p.Stream }

func (s ownStream) Direct() bool { return s.Path().Kind != p2p.Relay }

func (n *ownNode) path(peer string) nodePath {
	p := n.peer(peer).Path()
	if p.Kind == 0 {
		return nodePath{}
	}
	if p.Kind != p2p.Relay {
		return nodePath{Direct: true}
	}
	return nodePath{Relay: p.Relay.String()}
}

func (n *ownNode) noticed(since time.Time) time.Time { return n.log.first(since) }

func (n *ownNode) stir() { n.relays.NetworkChanged() }

func (n *ownNode) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), startIn)
	defer cancel()
	return n.node.Shutdown(ctx)
}

// A tracker is a hook that tracks peers.
type tracker struct{ ids []string }

func (*tracker) Name() string { return "tracker" }

func (h *tracker) Run(ctx context.Context, s *p2p.Scope) error {
	for _, text := range h.ids {
		id, err := identity.Parse(text)
		if err != nil {
			return err
		}
		s.Track(id)
	}
	s.Ready()
	<-ctx.Done()
	return nil
}

// Notices are a log handler that records when relays were noticed to be gone.
type notices struct {
	slog.Handler
	mu sync.Mutex
	at []time.Time
}

func (*notices) Enabled(context.Context, slog.Level) bool { return true }
func (n *notices) WithAttrs([]slog.Attr) slog.Handler     { return n }
func (n *notices) WithGroup(string) slog.Handler          { return n }
func (n *notices) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "a circuit has ended" || r.Message == "the relay does not answer" {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.at = append(n.at, r.Time)
	}
	return nil
}

func (n *notices) first(since time.Time) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, at := range n.at {
		if at.After(since) {
			return at
		}
	}
	return time.Time{}
}
