package nettest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/internal/relaytest"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/ancestor"
)

// An awayConfig tells [TestAwayNode] what node to be: one that can be reached
// only through relays.
type awayConfig struct {
	Seed   []byte
	Track  []string
	Relays []relayEntry
	Only   bool
	Map    bool // it asks its router to map a port
	Old    bool // it also reaches nodes of the first implementation
	Pairs  bool // it has libraries
}

// A relayEntry is a relay on the list.
type relayEntry struct{ Identity, Addr string }

// An awayPath is the path to a peer.
type awayPath struct{ Kind, Remote, Relay string }

func pathOf(p p2p.Path) awayPath {
	if p.Kind == 0 {
		return awayPath{}
	}
	return awayPath{p.Kind.String(), p.Remote.String(), p.Relay.String()}
}

// TestStockRelay is not a test but a program: go-libp2p's relay.
func TestStockRelay(t *testing.T) {
	console := netlab.Program(t, &struct{}{})
	r := relaytest.Start(t)
	r.Answer()
	console.Tell("started", r.Identity.String(), fmt.Sprint(r.Port))
	console.Serve()
}

// TestAwayNode is not a test but a program that the others run on a host behind
// a NAT.
func TestAwayNode(t *testing.T) {
	var cfg awayConfig
	console := netlab.Program(t, &cfg)
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		t.Cleanup(cancel)
		return ctx
	}
	key, err := identity.FromSeed(cfg.Seed)
	require.NoError(t, err)
	var servers []relay.Server
	for _, r := range cfg.Relays {
		id, err := identity.Parse(r.Identity)
		require.NoError(t, err)
		servers = append(servers, relay.Server{Identity: id, Addrs: []netip.AddrPort{netip.MustParseAddrPort(r.Addr)}})
	}
	listener := quic.New(quic.Config{})
	relays := relay.New(relay.Config{Listener: listener, Servers: servers, Only: cfg.Only, MapPorts: cfg.Map})
	var routes p2p.Mux
	routes.HandleFunc("hold", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error { return serveHeld(console, s) })
	hooks := []p2p.Hook{listener, relays, &tracker{cfg.Track}}
	var handler p2p.Handler = &routes
	if cfg.Old {
		handler = p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error { return serveHeld(console, s) })
		hooks = append([]p2p.Hook{ancestor.New(ancestor.Config{Relays: relays})}, hooks...)
	}
	if cfg.Pairs {
		p := newPairer(&routes, nil)
		p.handle(console)
		hooks = append(hooks, p.hooks()...)
	}
	var logged lineCounter
	node, err := p2p.Start(within(10*time.Second), p2p.Config{
		App: app, Identity: key, Handler: handler, Hooks: hooks,
		Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	console.Tell("started", node.Identity().String())
	holding, stop := context.WithCancel(context.Background())
	var round atomic.Int64
	netlab.Handle(console, "hold", func(a holdArgs) (awayPath, error) {
		s, err := holdAway(holding, console, node, a, &round)
		if err != nil {
			return awayPath{}, err
		}
		return pathOf(s.Path()), nil
	})
	netlab.Handle(console, "held", func(none) (int64, error) { return round.Load(), nil })
	netlab.Handle(console, "ready", func(none) (n int, err error) {
		for _, s := range relays.States() {
			if s.State == relay.Ready {
				n++
			}
		}
		return n, nil
	})
	netlab.Handle(console, "log", func(none) ([]string, error) { return logged.first(), nil })
	netlab.Handle(console, "path", func(none) (path awayPath, err error) {
		for _, peer := range node.Tracked() {
			path = pathOf(peer.Path())
		}
		return path, nil
	})
	console.Serve()
	stop()
	require.NoError(t, node.Shutdown(within(10*time.Second)))
}

// holdAway exchanges a byte with a tracked peer again and again.
func holdAway(holding context.Context, console *netlab.Console, node *p2p.P2P, a holdArgs, round *atomic.Int64) (*p2p.Stream, error) {
	ctx, cancel := context.WithTimeout(holding, 20*time.Second)
	defer cancel()
	s, err := node.Tracked()[0].Open(ctx, "hold")
	if err != nil {
		return nil, err
	}
	b := make([]byte, 1)
	exchange := func() error {
		if _, err := s.Write(b); err != nil {
			return err
		}
		_, err := s.Read(b)
		return err
	}
	if err := exchange(); err != nil {
		s.Close()
		return nil, err
	}
	go func() {
		defer s.Close()
		for ; holding.Err() == nil; time.Sleep(20 * time.Millisecond) {
			if err := exchange(); err != nil {
				tellFailed(console, "hold failed", a.Peer, err)
				return
			}
			round.Add(1)
		}
	}()
	return s, nil
}

// An away is two nodes, each behind its own router, and relays.
type away struct {
	a, b    *netlab.Process // a calls b
	relays  []*netlab.Process
	routers [2]*netlab.NAT
	inside  [2]*netlab.Host // the nodes' hosts
	ids     [2]string
}

// relay returns the relay of a path.
func (w *away) relay(of awayPath) *netlab.Process {
	for _, r := range w.relays {
		if r.Await(time.Time{}, "started").About[0] == of.Relay {
			return r
		}
	}
	return nil
}

// An awayRow is an arrangement of the two nodes.
type awayRow struct {
	a, b     netlab.NATKind // kinds of their routers
	together bool           // both are behind the first router
	relays   int
	only     bool // they do not tell their addresses
	mapped   bool // b's router maps ports, and is asked to
	pairs    bool // they have libraries, and know no other node yet
}

func goAway(t *testing.T, row awayRow) *away {
	t.Helper()
	lab := netlab.New(t, 2+row.relays)
	w := &away{}
	var entries []relayEntry
	for _, h := range lab.Hosts[2:] {
		at := h.Public()
		p := h.StartProgram(t, "TestStockRelay", struct{}{})
		about := p.Await(time.Time{}, "started").About
		entries = append(entries, relayEntry{about[0], fmt.Sprintf("%v:%s", at, about[1])})
		w.relays = append(w.relays, p)
	}
	for i, kind := range []netlab.NATKind{row.a, row.b} {
		w.routers[i] = lab.Hosts[i].NAT(kind)
		w.inside[i] = w.routers[i].Inside()
	}
	if row.mapped {
		lab.Hosts[1].StartProgram(t, "TestPortGateway", w.routers[1].Public()).Await(time.Time{}, "started")
	}
	if row.together {
		w.inside[1] = w.routers[0].Inside()
	}
	seeds := [2][]byte{[]byte("away away away away away away aw"), []byte("far far far far far far far far ")}
	for i, seed := range seeds {
		id, err := identity.FromSeed(seed)
		require.NoError(t, err)
		w.ids[i] = id.Remote().String()
	}
	for i, p := range []**netlab.Process{&w.a, &w.b} {
		cfg := awayConfig{Seed: seeds[i], Relays: entries, Only: row.only, Map: row.mapped && i == 1, Pairs: row.pairs}
		if !row.pairs {
			cfg.Track = []string{w.ids[1-i]}
		}
		*p = w.inside[i].StartProgram(t, "TestAwayNode", cfg)
		(*p).Await(time.Time{}, "started")
		until(t, func() bool { return call[int](t, *p, "ready") >= min(row.relays, relay.Reservations) })
	}
	return w
}

func call[R any](t testing.TB, p *netlab.Process, name string) R {
	t.Helper()
	r, err := netlab.Call[R](p, name, none{})
	require.NoError(t, err)
	return r
}

// hold keeps a stream between the nodes going.
func (w *away) hold(t *testing.T) awayPath {
	t.Helper()
	path, err := netlab.Call[awayPath](w.a, "hold", holdArgs{Peer: w.ids[1]})
	require.NoError(t, err)
	return path
}

// goesOn waits until the stream has made progress.
func (w *away) goesOn(t *testing.T) {
	t.Helper()
	round := call[int64](t, w.a, "held")
	until(t, func() bool { return call[int64](t, w.a, "held") > round+2 })
	for _, e := range w.a.Events() {
		require.NotEqual(t, "hold failed", e.Name, e)
	}
}

// Two nodes behind routers reach each other through a relay, and directly where
// their routers allow it; a stream that was open before goes on.
func TestAway(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		a, b   netlab.NATKind
		direct bool
	}{
		{netlab.Cone, netlab.Cone, true},
		{netlab.Full, netlab.Symmetric, true},
		{netlab.Symmetric, netlab.Full, true},
		{netlab.Symmetric, netlab.Symmetric, false},
		{netlab.Symmetric, netlab.Cone, false},
	} {
		t.Run(fmt.Sprintf("%v calls %v", row.a, row.b), func(t *testing.T) {
			t.Parallel()
			w := goAway(t, awayRow{a: row.a, b: row.b, relays: 1})
			began := time.Now()
			w.hold(t)
			t.Logf("the first byte after %v", time.Since(began))
			if row.direct {
				until(t, func() bool {
					return call[awayPath](t, w.a, "path").Kind == "direct" && call[awayPath](t, w.b, "path").Kind == "direct"
				})
				t.Logf("direct after %v", time.Since(began))
			} else {
				for _, p := range []*netlab.Process{w.a, w.b} { // attempts are over by then
					until(t, func() bool {
						return slices.ContainsFunc(call[[]string](t, p, "log"), func(line string) bool { return strings.Contains(line, "still relayed") })
					})
				}
				require.Equal(t, "relay", call[awayPath](t, w.a, "path").Kind)
			}
			w.goesOn(t)
		})
	}
}

// A relay that is killed while a stream runs through it is replaced by the
// other one.
func TestAwayRelayDies(t *testing.T) {
	t.Parallel()
	w := goAway(t, awayRow{a: netlab.Symmetric, b: netlab.Symmetric, relays: 2, only: true})
	path := w.hold(t)
	require.Equal(t, "relay", path.Kind)
	w.goesOn(t)
	w.relay(path).Kill()
	began := time.Now()
	w.goesOn(t)
	t.Logf("the stream went on after %v", time.Since(began))
	require.NotEqual(t, path.Relay, call[awayPath](t, w.a, "path").Relay)
}

// Nodes behind the same router get a direct path in its network.
func TestAwayTogether(t *testing.T) {
	t.Parallel()
	w := goAway(t, awayRow{together: true, relays: 1})
	w.hold(t)
	until(t, func() bool { return call[awayPath](t, w.a, "path").Kind == "direct" })
	require.Contains(t, call[awayPath](t, w.a, "path").Remote, "192.168.")
	w.goesOn(t)
}

// A relay that is stopped, and no longer answers, is detected and replaced.
func TestAwayRelayStops(t *testing.T) {
	t.Parallel()
	w := goAway(t, awayRow{a: netlab.Symmetric, b: netlab.Symmetric, relays: 2, only: true})
	path := w.hold(t)
	w.goesOn(t)
	r := w.relay(path)
	r.Suspend()
	began := time.Now()
	w.goesOn(t)
	t.Logf("the stream went on after %v", time.Since(began))
	require.NotEqual(t, path.Relay, call[awayPath](t, w.a, "path").Relay)
	r.Resume()
}

// A direct path that dies is replaced by the relay.
func TestAwayDirectDies(t *testing.T) {
	t.Parallel()
	w := goAway(t, awayRow{relays: 1})
	w.hold(t)
	until(t, func() bool {
		return call[awayPath](t, w.a, "path").Kind == "direct" && call[awayPath](t, w.b, "path").Kind == "direct"
	})
	w.goesOn(t)
	remote := netip.MustParseAddrPort(call[awayPath](t, w.a, "path").Remote).Addr()
	w.routers[0].Block(remote)
	began := time.Now()
	w.goesOn(t)
	t.Logf("the stream went on after %v", time.Since(began))
	require.Equal(t, "relay", call[awayPath](t, w.a, "path").Kind)
}
