package nettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/mdns/scan"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tcp"
)

const app = "nettest"

// A nodeConfig tells [TestNode] which node to be.
type nodeConfig struct {
	Name   string
	Seed   []byte // seed of its key; nil: a fresh key
	MDNS   bool   // whether it has a discovery,
	QUIC   bool   // a listener,
	Lanes  bool   // and lanes
	Open   bool   // whether it tells strangers everything
	Port   uint16 // its port, if not zero
	Manual []string

	Interfaces []string // of the discovery; empty: all
	Metadata   map[string]string

	Pairs bool          // whether it has libraries, and tickets for them
	Idle  time.Duration // how long it keeps an idle connection, if not zero
	Track []string      // identities of the peers that it tracks
	Debug bool          // whether it logs everything
	Slow  time.Duration // how long Config.Allow takes for streams of peers that are not tracked

	Contacts []string      // identities of its contacts; nil: no such hook
	Mode     mdns.Mode     // mode of the discovery
	Epoch    time.Duration // lifetime of its key; zero: an epoch
}

// These are the node's calls, besides "peers", "conflict", "stats", "set
// metadata" and "set manual".
type (
	echoArgs struct{ Peer, Text string } // "echo", and "echo in bulk"
	echoed   struct {
		Path      p2p.Path
		Network   string // of its addresses: "udp" or "tcp"
		DialError string // if the error is a DialError
	}

	scanArgs struct{ Interface string } // "scan"
	scanned  struct {
		Identity string
		Metadata map[string]string
		Addrs    []string
	}

	peerInfo struct { // "peers"
		Identity, Name string
		DiscoveredBy   []string
		Candidates     []string
		Metadata       map[string]string
		Connected      bool
		Remote         string // the peer's address, if it is connected
	}

	manualPeer struct { // "manual peers"
		Entry, State, Identity, Addr, Err string
		Since                             time.Time
	}

	vitals struct { // "vitals"
		Heap       uint64 // in bytes, without garbage
		Goroutines int
		LogLines   int64
	}

	none struct{}
)

// A lineCounter writes a program's log to its standard error, counts the lines,
// and keeps the first ones.
type lineCounter struct {
	lines atomic.Int64

	mu   sync.Mutex
	kept []string
}

func (c *lineCounter) Write(line []byte) (int, error) {
	if c.lines.Add(1) <= 100 {
		c.mu.Lock()
		c.kept = append(c.kept, string(line))
		c.mu.Unlock()
	}
	return os.Stderr.Write(line)
}

func (c *lineCounter) first() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.kept)
}

// TestNode is not a test but a program that the others run on a host: a node
// that reports its events, and answers calls.
func TestNode(t *testing.T) {
	var cfg nodeConfig
	console := netlab.Program(t, &cfg)
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		t.Cleanup(cancel)
		return ctx
	}

	var key identity.Identity
	if cfg.Seed != nil {
		var err error
		key, err = identity.FromSeed(cfg.Seed)
		require.NoError(t, err)
	}
	var routes p2p.Mux
	routes.HandleFunc("echo", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error {
		_, err := io.CopyBuffer(s, s, make([]byte, 4<<10))
		return err
	})
	routes.HandleFunc("pump", p2p.Anyone, servePump)
	routes.HandleFunc("hold", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error { return serveHeld(console, s) })
	told := quic.AsAnnounced
	if cfg.Open {
		told = quic.Everything
	}
	listener := quic.New(quic.Config{Port: cfg.Port, ManualPeers: cfg.Manual, TellStrangers: told, IdleTimeout: cfg.Idle})
	discovery, hooks := discover(t, console, cfg, listener)
	if cfg.QUIC {
		hooks = append(hooks, listener)
	}
	if cfg.Lanes {
		hooks = append(hooks, tcp.New(tcp.Config{}))
	}
	if cfg.MDNS {
		hooks = append(hooks, discovery)
	}
	if cfg.Track != nil {
		hooks = append(hooks, &tracker{cfg.Track})
	}
	if cfg.Pairs {
		var contacts pairing.Contacts
		if len(hooks) > 0 {
			contacts, _ = hooks[0].(pairing.Contacts)
		}
		pairs := newPairer(&routes, contacts)
		pairs.handle(console)
		hooks = append(hooks, pairs.hooks()...)
		serveFounding(console, pairs.libraries)
	}
	var logged lineCounter
	console.Tell("starting")
	node, err := p2p.Start(within(10*time.Second), p2p.Config{
		App: app, Name: cfg.Name, Metadata: cfg.Metadata, Identity: key, Handler: &routes, Hooks: hooks,
		Allow:  slowly(cfg),
		Logger: slog.New(slog.NewTextHandler(&logged, logOptions(cfg))),
	})
	require.NoError(t, err)
	serveKnocking(console, node)
	console.Tell("started", node.Identity().String())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for e := range node.Watch(context.Background()) {
			tell(console, e)
		}
	}()

	release := handleService(console, node)
	netlab.Handle(console, "echo", func(a echoArgs) (echoed, error) { return echo(within(20*time.Second), node, a) })
	netlab.Handle(console, "echo in bulk", func(a echoArgs) (echoed, error) { return echo(p2p.Bulk(within(20*time.Second)), node, a) })
	netlab.Handle(console, "peers", func(none) (all []peerInfo, err error) {
		for _, p := range node.Peers() {
			known := p.Info()
			info := peerInfo{
				Identity: p.String(), Name: known.Name, DiscoveredBy: known.DiscoveredBy,
				Connected: len(known.Connections) > 0, Metadata: known.Metadata, Remote: known.Path.Remote.String(),
			}
			for _, c := range known.Candidates {
				info.Candidates = append(info.Candidates, c.String())
			}
			all = append(all, info)
		}
		return all, nil
	})
	netlab.Handle(console, "manual peers", func(none) (all []manualPeer, err error) {
		for _, m := range listener.ManualPeers() {
			info := manualPeer{Entry: m.Entry, State: m.State.String(), Identity: m.Identity.String(), Addr: m.Addr.String(), Since: m.Since}
			if m.Err != nil {
				info.Err = m.Err.Error()
			}
			all = append(all, info)
		}
		return all, nil
	})
	netlab.Handle(console, "set manual", func(entries []string) (none, error) { return none{}, listener.SetManualPeers(entries) })
	netlab.Handle(console, "conflict", func(none) (string, error) {
		if addr, ok := discovery.Conflict(); ok {
			return addr.String(), nil
		}
		return "", nil
	})
	netlab.Handle(console, "stats", func(none) (mdns.Stats, error) { return discovery.Stats(), nil })
	netlab.Handle(console, "log", func(none) ([]string, error) { return logged.first(), nil })
	netlab.Handle(console, "vitals", func(none) (vitals, error) {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return vitals{m.HeapAlloc, runtime.NumGoroutine(), logged.lines.Load()}, nil
	})
	netlab.Handle(console, "set metadata", func(set map[string]string) (none, error) {
		return none{}, node.UpdateMetadata(func(m map[string]string) { maps.Copy(m, set) })
	})
	netlab.Handle(console, "scan", func(a scanArgs) (all []scanned, err error) {
		found, err := scan.Scan(within(10*time.Second), app, scan.Config{Interface: a.Interface, Time: time.Second})
		for _, f := range found {
			s := scanned{Identity: f.Identity.String(), Metadata: f.Metadata}
			for _, addr := range f.Addrs {
				s.Addrs = append(s.Addrs, addr.String())
			}
			all = append(all, s)
		}
		return all, err
	})
	console.Serve()
	release()
	console.Tell("stopping")
	require.NoError(t, node.Shutdown(within(10*time.Second)))
	<-watched
	console.Tell("stopped")
}

func tell(console *netlab.Console, e p2p.Event) {
	switch e := e.(type) {
	case p2p.PeerAvailable:
		console.Tell("available", e.Peer.String())
	case p2p.PeerUnavailable:
		console.Tell("unavailable", e.Peer.String())
	case p2p.PeerMetadataModified:
		console.Tell("modified", e.Peer.String())
	case p2p.PeerDiscoveredBy:
		console.Tell("discovered", e.Peer.String(), e.Hook)
	case p2p.PeerExpiredBy:
		console.Tell("expired", e.Peer.String(), e.Hook)
	case p2p.PeerConnectedWith:
		console.Tell("connected", e.Peer.String(), e.Listener)
	case p2p.PeerDisconnectedWith:
		console.Tell("disconnected", e.Peer.String(), e.Listener)
	case p2p.NetworkModified:
		console.Tell("network")
	case p2p.HookStopped:
		console.Tell("hook stopped", e.Hook, fmt.Sprint(e.Err))
	}
}

// echo sends a text to a peer and reads it back.
func echo(ctx context.Context, node *p2p.P2P, a echoArgs) (echoed, error) {
	id, err := identity.Parse(a.Peer)
	if err != nil {
		return echoed{}, err
	}
	peer, ok := node.Peer(id)
	if !ok {
		return echoed{}, p2p.ErrUnavailable
	}
	s, err := peer.Open(ctx, "echo")
	var unreachable *p2p.DialError
	if errors.As(err, &unreachable) {
		return echoed{DialError: err.Error()}, nil
	}
	if err != nil {
		return echoed{}, err
	}
	defer s.Close()
	deadline, _ := ctx.Deadline()
	if err := s.SetDeadline(deadline); err != nil {
		return echoed{}, err
	}
	wrote := make(chan error, 1)
	go func() { // it may exceed what both directions can buffer
		_, err := io.WriteString(s, a.Text)
		wrote <- errors.Join(err, s.CloseWrite())
	}()
	back, err := io.ReadAll(s)
	err = errors.Join(err, <-wrote)
	if err == nil && !bytes.Equal(back, []byte(a.Text)) {
		err = fmt.Errorf("%q came back as %q", a.Text, back)
	}
	local, _ := s.Endpoints()
	return echoed{Path: s.Path(), Network: local.Network()}, err
}

// A node is the test's handle of a node.
type node struct {
	*netlab.Process
	t    testing.TB
	host *netlab.Host
	id   string
}

// start starts a node and waits until all its hooks are ready.
func start(t testing.TB, h *netlab.Host, cfg nodeConfig) *node {
	t.Helper()
	n := &node{Process: h.Start(t, cfg), t: t, host: h}
	n.id = n.Await(time.Time{}, "started").About[0]
	return n
}

// discovers waits until a hook of n discovers other, and returns the time of
// that.
func (n *node) discovers(other *node, hook string) time.Time {
	n.t.Helper()
	n.Await(time.Time{}, "discovered", other.id, hook)
	return n.Await(time.Time{}, "available", other.id).At
}

// echoes has n exchange a stream with other, at one of the addresses of other's
// host.
func (n *node) echoes(other *node) {
	n.t.Helper()
	r, err := netlab.Call[echoed](n.Process, "echo", echoArgs{other.id, "from " + n.id})
	require.NoError(n.t, err)
	require.Empty(n.t, r.DialError)
	require.True(n.t, other.host.Owns(r.Path.Remote.Addr()), r.Path)
}

// ask makes a call without arguments.
func ask[R any](n *node, name string) R {
	n.t.Helper()
	r, err := netlab.Call[R](n.Process, name, none{})
	require.NoError(n.t, err)
	return r
}

// logs returns how many of the first lines of a node's log contain a text.
func (n *node) logs(text string) (lines int) {
	n.t.Helper()
	for _, line := range ask[[]string](n, "log") {
		if strings.Contains(line, text) {
			lines++
		}
	}
	return lines
}

func (n *node) manual() manualPeer {
	n.t.Helper()
	all := ask[[]manualPeer](n, "manual peers")
	require.Len(n.t, all, 1)
	return all[0]
}

// until waits for a condition that no event reports.
func until(t testing.TB, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > netlab.Patience {
			t.Fatalf("the condition is not met after %v", netlab.Patience)
		}
	}
}

// A sample is a list of measurements.
type sample []time.Duration

// String returns the minimum, median and maximum.
func (s sample) String() string {
	s = slices.Sorted(slices.Values(s))
	texts := make([]string, 0, 3)
	for _, d := range []time.Duration{s[0], s[len(s)/2], s[len(s)-1]} {
		texts = append(texts, d.Round(time.Millisecond).String())
	}
	return fmt.Sprintf("%s (min/median/max of %d)", strings.Join(texts, "/"), len(s))
}

func (s sample) most() time.Duration { return slices.Max(s) }

// logOptions makes a node log everything if cfg says so, or if
// SDP2P_NETTEST_DEBUG is set.
func logOptions(cfg nodeConfig) *slog.HandlerOptions {
	if !cfg.Debug && os.Getenv("SDP2P_NETTEST_DEBUG") == "" {
		return nil
	}
	return &slog.HandlerOptions{Level: slog.LevelDebug}
}
