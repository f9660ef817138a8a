package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/faulttest"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/metrics"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
)

// A finder finds the peers that the test wants it to find.
type finder struct{ faulttest.Finder }

// Report uses names that Prometheus does not accept.
func (*finder) Report(bool) p2p.HookReport {
	return p2p.HookReport{Gauges: map[string]float64{"not-a-name": 1}, Counts: map[string]map[string]uint64{"Neither": {"": 1}}}
}

type rig struct {
	node, other *p2p.P2P
	find        *finder
	peer        *p2p.Peer
}

// newRig makes two nodes that have most hooks, on loopback.
func newRig(t *testing.T) *rig {
	t.Helper()
	listener := quic.New(quic.Config{})
	find := &finder{}
	var mux p2p.Mux
	mux.HandleFunc("mine", p2p.Access{}, echo)
	var theirs p2p.Mux
	theirs.HandleFunc("echo", p2p.Anyone, echo)
	theirs.HandleFunc("files", p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		root, err := os.OpenRoot(t.TempDir())
		if err == nil {
			_, err = block.Receive(ctx, s, nil, root, block.ReceiveOptions{})
		}
		return err
	})
	r := &rig{find: find}
	r.node = start(t, &mux, listener, find, mdns.New(mdns.Config{Mode: mdns.Disabled}), relay.New(relay.Config{Listener: listener}), library.New(library.Config{}))
	r.other = start(t, &theirs, quic.New(quic.Config{}))
	r.peer = r.knows(t, r.other.Identity())
	return r
}

func start(t *testing.T, handler p2p.Handler, hooks ...p2p.Hook) *p2p.P2P {
	t.Helper()
	node, err := p2p.Start(t.Context(), p2p.Config{App: "test", Handler: handler, Hooks: hooks})
	require.NoError(t, err)
	t.Cleanup(func() { node.Shutdown(context.Background()) })
	return node
}

func echo(_ context.Context, s *p2p.Stream) error {
	_, err := s.Read(make([]byte, 1))
	return err
}

// knows makes the node discover an identity at the other node's address.
func (r *rig) knows(t *testing.T, id identity.RemoteIdentity) *p2p.Peer {
	t.Helper()
	for _, a := range r.other.Listeners()[0].Addrs {
		if a.Addr().Is4() || a.Addr().Is4In6() {
			at := p2p.Candidate{Kind: p2p.Direct, Addr: loopback(a.Port()), Version: 2}
			require.NoError(t, r.find.Scope.Discovered(id, nil, []p2p.Candidate{at}))
		}
	}
	peer, ok := r.node.Peer(id)
	require.True(t, ok)
	return peer
}

// gather returns a collection as text.
func gather(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(c))
	families, err := registry.Gather()
	require.NoError(t, err)
	var text strings.Builder
	for _, f := range families {
		_, err := expfmt.MetricFamilyToText(&text, f)
		require.NoError(t, err)
	}
	return text.String()
}

// The collected metrics have the form that Prometheus wants, and distinguish
// each kind of failure.
func TestMetrics(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := metrics.New(r.node, metrics.Config{})

	s, err := r.peer.Open(ctx, "nowhere")
	require.NoError(t, err)
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, p2p.ErrNoRoute)
	s, err = r.peer.Open(ctx, "files")
	require.NoError(t, err)
	_, err = block.Send(ctx, s, nil, block.SendOptions{})
	require.True(t, err == nil || !errors.Is(err, ctx.Err()))
	_, err = r.knows(t, identity.New().Remote()).Open(ctx, "echo")
	require.ErrorIs(t, err, quic.ErrOtherPeer)

	back := metrics.New(r.other, metrics.Config{})
	require.Eventually(t, func() bool {
		return strings.Contains(gather(t, back), `sdp2p_streams_refused_total{cause="no route",route="(none)"} 1`)
	}, time.Minute, 10*time.Millisecond)

	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	require.Empty(t, problems)
	text := gather(t, c)
	for _, line := range []string{
		`sdp2p_hook_up{hook="quic"} 1`, `sdp2p_peers{state="connected"} 1`, `sdp2p_peers{state="available"} 2`,
		`sdp2p_open_connections{path="direct"} 1`, `sdp2p_streams_opened_total{route="nowhere"} 1`,
		`sdp2p_streams_refused_there_total{cause="no route",route="nowhere"} 1`, `sdp2p_dials_failed_total{cause="other peer"} 1`,
		`sdp2p_attempts_failed_total{cause="other peer"} 1`, `sdp2p_connections_total{cause="direct"} 1`,
		`sdp2p_mdns_packets_sent_total{cause="queries"} 0`, `sdp2p_relays 0`, `sdp2p_libraries 0`, `sdp2p_block_transfers_sent_total{`,
	} {
		require.Contains(t, text, line)
	}
	require.Regexp(t, `sdp2p_sent_bytes_total\{path="direct"\} [1-9]`, text)
	require.NotContains(t, text, r.other.Identity().String())
	require.NotContains(t, strings.ToLower(text), "name\" ")
	require.Contains(t, gather(t, metrics.New(r.node, metrics.Config{Peers: true})), `sdp2p_peer_connected{peer="`+r.other.Identity().String()+`"} 1`)
}

// The dashboard is valid JSON, and only asks for metrics that exist.
func TestDashboard(t *testing.T) {
	b, err := os.ReadFile("../deploy/grafana.json")
	require.NoError(t, err)
	var dashboard struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &dashboard))
	require.NotEmpty(t, dashboard.Title)
	code, err := os.ReadFile("metrics.go")
	require.NoError(t, err)
	asked := 0
	for _, p := range dashboard.Panels {
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			for _, name := range regexp.MustCompile(`sdp2p_\w+`).FindAllString(target.Expr, -1) {
				base := strings.TrimPrefix(name, "sdp2p_")
				known := []string{`"` + base + `"`, `"` + strings.TrimSuffix(base, "_total") + `"`}
				require.True(t, slices.ContainsFunc(known, func(k string) bool { return strings.Contains(string(code), k) }), name)
				asked++
			}
			if strings.Contains(target.Expr, "_total") {
				require.Contains(t, target.Expr, "rate(", "a counter must be shown as a rate")
			}
		}
	}
	require.Greater(t, asked, 10)
}

func loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// A reckless hook reports values that Prometheus or JSON cannot express.
type reckless struct{}

func (reckless) Name() string { return "reckless" }

func (reckless) Run(ctx context.Context, s *p2p.Scope) error {
	s.Count("app_ends", "with \xff", 2)
	s.Ready()
	<-ctx.Done()
	return nil
}

func (reckless) Report(bool) p2p.HookReport {
	return p2p.HookReport{Gauges: map[string]float64{"app_ratio": math.NaN(), "app_load": 0.5}, Counts: map[string]map[string]uint64{"app_ends_too": {"\xfe": 1}}}
}

// If a hook of an app reports invalid text, or a value that is no number,
// neither the other metrics nor the node's state are lost.
func TestReckless(t *testing.T) {
	node := start(t, nil, reckless{})
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.New(node, metrics.Config{}))
	names := map[string]bool{}
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		names[f.GetName()] = true
	}
	for _, name := range []string{"sdp2p_app_ends_total", "sdp2p_app_ends_too_total", "sdp2p_app_load", "sdp2p_start_time_seconds"} {
		require.True(t, names[name], name)
	}
	text, err := json.Marshal(node.State())
	require.NoError(t, err)
	require.Contains(t, string(text), `"app_load":0.5`)
}
