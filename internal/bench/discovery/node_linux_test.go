package discovery

import (
	"context"
	"io"
	"log"
	"net"
	"runtime"
	"testing"
	"time"

	hashimdns "github.com/hashicorp/mdns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

// A config tells TestNode which program to be.
type config struct {
	Kind  string
	Label string        // label of a hashicorp server, or name of a node
	Addrs []string      // addresses of the host; a flood comes from all of them
	Every time.Duration // how often a hashicorp server also asks for others
}

type none struct{}

// TestNode is not a test: it acts as the programs that the others run on hosts.
// All of them report "starting", "started", "stopping" and "stopped".
func TestNode(t *testing.T) {
	var cfg config
	console := netlab.Program(t, &cfg)
	switch cfg.Kind {
	case "node":
		runNode(t, console, cfg)
	case "hashicorp":
		runHashicorp(t, console, cfg)
	case "counter":
		runCounter(t, console)
	case "flood":
		runFlood(t, console, cfg)
	default:
		t.Fatal(cfg.Kind)
	}
}

// A state is a node's answer to "state".
type state struct {
	Heap     uint64 // live bytes
	Peers    int
	Received uint64 // number of Multicast DNS packets processed
}

// runNode acts as a node as most apps run it. It reports peers that are
// "available" and "unavailable"; "dial" opens a stream to a peer and reports
// when that "failed".
func runNode(t *testing.T, console *netlab.Console, cfg config) {
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		t.Cleanup(cancel)
		return ctx
	}
	discovery := mdns.New(mdns.Config{})
	console.Tell("starting")
	node, err := p2p.Start(within(10*time.Second), p2p.Config{
		App: app, Name: cfg.Label, DeviceModel: "Laptop 13", Version: "0.0.1",
		Hooks: []p2p.Hook{quic.New(quic.Config{}), discovery},
	})
	require.NoError(t, err)
	console.Tell("started", node.Identity().String())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for e := range node.Watch(context.Background()) {
			switch e := e.(type) {
			case p2p.PeerAvailable:
				console.Tell("available", e.Peer.String())
			case p2p.PeerUnavailable:
				console.Tell("unavailable", e.Peer.String())
			}
		}
	}()
	netlab.Handle(console, "dial", func(text string) (none, error) {
		id, err := identity.Parse(text)
		if err != nil {
			return none{}, err
		}
		peer, ok := node.Peer(id)
		if !ok {
			return none{}, p2p.ErrUnavailable
		}
		console.Tell("dialing", text)
		s, err := peer.Open(within(30*time.Second), "nothing")
		console.Tell("failed", text)
		if err == nil {
			s.Close()
			t.Error("a peer that is gone was reached")
		}
		return none{}, nil
	})
	netlab.Handle(console, "state", func(none) (state, error) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return state{m.HeapAlloc, len(node.Peers()), discovery.Stats().Received.Total().Packets}, nil
	})
	netlab.Handle(console, "sent", func(none) (mdns.Count, error) { return discovery.Stats().Sent.Total(), nil })
	console.Serve()
	console.Tell("stopping")
	require.NoError(t, node.Shutdown(within(10*time.Second)))
	<-watched
	console.Tell("stopped")
}

// runHashicorp acts as a server of hashicorp/mdns with one service, which may
// also ask for others from time to time.
func runHashicorp(t *testing.T, console *netlab.Console, cfg config) {
	quiet := log.New(io.Discard, "", 0) // it complains of packets that it does not understand
	ifc, err := net.InterfaceByName(netlab.Interface)
	require.NoError(t, err)
	var ips []net.IP
	for _, a := range cfg.Addrs {
		ips = append(ips, net.ParseIP(a))
	}
	service, err := hashimdns.NewMDNSService(cfg.Label, serviceType, "", cfg.Label+".local.", 4242, ips, metadata(cfg.Label))
	require.NoError(t, err)
	console.Tell("starting")
	server, err := hashimdns.NewServer(&hashimdns.Config{Zone: service, Iface: ifc, Logger: quiet})
	require.NoError(t, err)
	console.Tell("started", cfg.Label)
	ctx, cancel := context.WithCancel(context.Background())
	asking := make(chan struct{})
	go func() {
		defer close(asking)
		if cfg.Every == 0 {
			return
		}
		for tick := time.NewTicker(cfg.Every); ctx.Err() == nil; {
			ask(ctx, console, ifc, quiet)
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	console.Serve()
	cancel()
	<-asking
	console.Tell("stopping")
	require.NoError(t, server.Shutdown())
	console.Tell("stopped")
}

// ask asks once, for the package's default time, and reports the servers that
// it "found".
func ask(ctx context.Context, console *netlab.Console, ifc *net.Interface, logger *log.Logger) {
	params := hashimdns.DefaultParams(serviceType)
	entries := make(chan *hashimdns.ServiceEntry, 16)
	params.Entries, params.Interface, params.Logger = entries, ifc, logger
	if err := hashimdns.QueryContext(ctx, params); err != nil {
		console.Tell("error", err.Error())
	}
	close(entries)
	for e := range entries {
		console.Tell("found", e.Name)
	}
}

// A program is TestNode on a host, as a test sees it.
type program struct {
	*netlab.Process
	t       *testing.T
	label   string // its instance label
	started time.Time
	began   time.Time
}

// start starts a program and waits until it works.
func start(t *testing.T, h *netlab.Host, cfg config) *program {
	t.Helper()
	p := begin(t, h, cfg)
	p.work()
	return p
}

// begin starts a program, and waits until it is about to begin its work.
func begin(t *testing.T, h *netlab.Host, cfg config) *program {
	t.Helper()
	if cfg.Addrs == nil {
		cfg.Addrs = []string{h.Addr4().String(), h.Addr6().String(), h.LinkLocal().String()}
	}
	p := &program{t: t, Process: h.Start(t, cfg)}
	p.began = p.Await(time.Time{}, "starting").At
	return p
}

func (p *program) work() {
	p.t.Helper()
	e := p.Await(time.Time{}, "started")
	p.started = e.At
	if len(e.About) > 0 {
		p.label = e.About[0]
	}
}

// leave tells a program to stop, and returns when it began to. It does not wait
// for the end.
func (p *program) leave() time.Time {
	p.t.Helper()
	p.Quit()
	return p.Await(time.Time{}, "stopping").At
}

// tells waits, up to a time, until the program reports an event about a peer,
// and returns the time.
func (p *program) tells(since time.Time, patience time.Duration, name, peer string) time.Time {
	p.t.Helper()
	return until(p.t, patience, name+" "+peer, func() (time.Time, bool) {
		for _, e := range p.Events() {
			if e.Name == name && e.About[0] == peer && !e.At.Before(since) {
				return e.At, true
			}
		}
		return time.Time{}, false
	})
}
