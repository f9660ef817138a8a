package nettest

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/quic"
)

// A crowdConfig tells [TestCrowd] which nodes to be.
type crowdConfig struct {
	Nodes  int
	Port   uint16 // of the first node, if they use fixed ports
	Manual string // the address that they dial; may be empty
	Peer   string // the identity that they track
}

// TestCrowd is not a test but a program that others run: many nodes in one
// process.
func TestCrowd(t *testing.T) {
	var cfg crowdConfig
	console := netlab.Program(t, &cfg)
	holding, stop := context.WithCancel(t.Context())
	streams := &holder{console: console}
	var nodes []*p2p.P2P
	for i := range cfg.Nodes {
		key, err := identity.FromSeed(crowdSeed(i))
		require.NoError(t, err)
		var routes p2p.Mux
		routes.HandleFunc("hold", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error { return serveHeld(console, s) })
		var q quic.Config
		if cfg.Port != 0 {
			q.Port = cfg.Port + uint16(i)
		}
		if cfg.Manual != "" {
			q.ManualPeers = []string{cfg.Manual}
		}
		node, err := p2p.Start(t.Context(), p2p.Config{
			App: app, Identity: key, Handler: &routes, Hooks: []p2p.Hook{quic.New(q), &tracker{[]string{cfg.Peer}}}, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		nodes = append(nodes, node)
	}
	netlab.Handle(console, "hold", func(a holdArgs) (at echoed, err error) {
		for _, node := range nodes {
			at, err = streams.hold(holding, node, a)
			for began := time.Now(); errors.Is(err, p2p.ErrUnavailable) && time.Since(began) < netlab.Patience/2; time.Sleep(10 * time.Millisecond) {
				at, err = streams.hold(holding, node, a) // the other side saw it first
			}
			if err != nil {
				return at, err
			}
		}
		return at, nil
	})
	netlab.Handle(console, "went on", func(since time.Time) (wentOn, error) { return streams.wentOn(since), nil })
	console.Tell("started")
	console.Serve()
	stop()
	for _, node := range nodes {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		require.NoError(t, node.Shutdown(ctx))
		cancel()
	}
}

func crowdSeed(i int) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, identity.SeedSize-8), uint64(i)+1)
}

// crowded starts a node, the roamer, and fifty others on one host, each of
// which has a connection and a stream with it. Either the roamer has dialed, or
// all of the others have.
func crowded(t *testing.T, dialed bool) (r *roaming, others *netlab.Host) {
	t.Helper()
	const crowd, first = 50, 7400
	lab := netlab.New(t, 2)
	r = &roaming{segment: lab.Segment(1, lab.Hosts...)}
	lab.Disconnect()
	at := func(h int, port uint16) string {
		return netip.AddrPortFrom(r.segment.Prefixes(lab.Hosts[h], 0)[0].Addr(), port).String()
	}
	cfg := seeded(nodeConfig{QUIC: true, Port: quic.DefaultPort}, keys[0])
	theirs := crowdConfig{Nodes: crowd, Peer: idOf(t, keys[0])}
	for i := range crowd {
		key, err := identity.FromSeed(crowdSeed(i))
		require.NoError(t, err)
		cfg.Track = append(cfg.Track, key.Remote().String())
		if !dialed {
			cfg.Manual = append(cfg.Manual, at(1, first+uint16(i)))
		}
	}
	if dialed {
		theirs.Manual = at(0, quic.DefaultPort)
	} else {
		theirs.Port = first
	}
	program := lab.Hosts[1].StartProgram(t, "TestCrowd", theirs)
	program.Await(time.Time{}, "started")
	r.roamer = start(t, lab.Hosts[0], cfg)
	for _, id := range cfg.Track {
		r.roamer.Await(time.Time{}, "connected", id)
	}
	r.caller, r.began = r.roamer, time.Now()
	hold := cfg.Track
	if dialed {
		r.caller = &node{Process: program, t: t, host: lab.Hosts[1]}
		hold = []string{r.roamer.id}
	}
	for _, id := range hold {
		_, err := netlab.Call[echoed](r.caller.Process, "hold", holdArgs{Peer: id})
		require.NoError(t, err)
	}
	r.goesOn(t)
	return r, lab.Hosts[1]
}

// A host's address changes, and with it fifty connections: none is lost,
// whether they all belong to one node, dialed by it or by the others, or it
// dialed fifty nodes on that host.
func TestRoamingFifty(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ dialed, others bool }{
		"dialer": {false, false}, "listener": {true, false}, "50 listeners": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			took := takes(t, "50 connections, "+name)
			r, h := crowded(t, c.dialed)
			if !c.others {
				h = r.roamer.host
			}
			r.segment.Remove(h, r.segment.Prefixes(h, 0)...)
			since := time.Now()
			r.segment.Add(h, r.segment.Prefixes(h, 1)...)
			took(r.goesOnSince(t, since))
		})
	}
}
