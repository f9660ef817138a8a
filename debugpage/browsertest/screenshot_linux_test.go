package browsertest

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/faulttest"
)

// A stage is a listener whose connections are of the kinds that the test wants.
type stage struct {
	scope *p2p.Scope
	relay identity.RemoteIdentity
	left  []identity.RemoteIdentity // peers whose connection has left a relay
}

func (*stage) Name() string { return "stage" }

func (s *stage) Run(ctx context.Context, scope *p2p.Scope) error {
	s.scope = scope
	if err := scope.AddAddr(netip.MustParseAddrPort("192.0.2.10:7373")); err != nil {
		return err
	}
	scope.Ready()
	<-ctx.Done()
	return nil
}

// causedError is an error with a cause.
type causedError struct{ error }

func (causedError) Cause() string { return "no answer" }

func (s *stage) Dial(_ context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	failed := &p2p.DialError{Peer: to}
	for _, c := range via {
		failed.Attempts = append(failed.Attempts, p2p.Attempt{Candidate: c, Took: 5 * time.Second, Err: causedError{errors.New("no answer from there: a firewall, or nobody")}})
	}
	return nil, failed
}

// Report returns a report such as that of package relay.
func (s *stage) Report(bool) p2p.HookReport {
	upgrades := []map[string]any{}
	for _, id := range s.left {
		upgrades = append(upgrades, map[string]any{"peer": id, "direct": true})
	}
	relays := []map[string]any{{"relay": s.relay, "state": "ready", "rtt_ns": 31e6, "observed": "198.51.100.7:7373", "bytes_left": -1}}
	return p2p.HookReport{Gauges: map[string]float64{"relays": 1, "relays_ready": 1}, Details: map[string]any{"relays": relays, "upgrades": upgrades}}
}

// A conn is a connection with made-up figures.
type conn struct {
	path  p2p.Path
	rtt   time.Duration
	pace  float64 // average bytes a second
	began time.Time
}

func (c *conn) Path() p2p.Path    { return c.path }
func (c *conn) Opened() time.Time { return c.began }
func (c *conn) Close() error      { return nil }

func (c *conn) RTT() time.Duration {
	return c.rtt + time.Duration(float64(c.rtt)/6*math.Sin(time.Since(c.began).Seconds()))
}

func (c *conn) Stats() p2p.ConnStats {
	t := time.Since(c.began).Seconds()
	sent := c.pace * (t - math.Sin(t/3))
	return p2p.ConnStats{Bytes: p2p.Bytes{Sent: uint64(sent), Received: uint64(sent / 4)}, PacketsSent: uint64(sent / 1200)}
}

// enter lets a peer connect over the given path.
func (s *stage) enter(t *testing.T, name string, path p2p.Path, rtt time.Duration, pace float64) identity.RemoteIdentity {
	t.Helper()
	id := identity.New().Remote()
	require.NoError(t, s.scope.Connected(id, &conn{path, rtt, pace, time.Now()}))
	require.NoError(t, s.scope.Stated(id, map[string]string{"name": name}))
	return id
}

// play lets peers connect over each kind of path.
func play(t *testing.T) *p2p.P2P {
	t.Helper()
	s, find := &stage{relay: identity.New().Remote()}, &faulttest.Finder{}
	node, err := p2p.Start(t.Context(), p2p.Config{App: "photos", Name: "Laptop", Hooks: []p2p.Hook{s, find}})
	require.NoError(t, err)
	t.Cleanup(func() { node.Shutdown(context.Background()) })
	at := func(addr string, kind p2p.CandidateKind) p2p.Path {
		return p2p.Path{Kind: kind, Dialed: true, Remote: netip.MustParseAddrPort(addr)}
	}
	s.enter(t, "Phone", at("192.0.2.21:7373", p2p.Direct), 3*time.Millisecond, 2e6)
	s.enter(t, "Tablet", at("192.0.2.22:7373", p2p.Direct), 5*time.Millisecond, 3e5)
	s.enter(t, "Living room", at("192.0.2.23:7373", p2p.Direct), 2*time.Millisecond, 0)
	s.enter(t, "Storage", at("192.0.2.5:7373", p2p.Manual), time.Millisecond, 9e5)
	relayed := at("198.51.100.1:443", p2p.Relay)
	relayed.Relay = s.relay
	s.enter(t, "Ada's phone", relayed, 62*time.Millisecond, 4e4)
	s.left = append(s.left, s.enter(t, "Office", at("203.0.113.9:7373", p2p.Direct), 24*time.Millisecond, 6e5))
	find.Finds(t, identity.New().Remote(), "Old laptop", nobody)
	peer := find.Finds(t, identity.New().Remote(), "Camera", nobody)
	_, err = peer.Open(t.Context(), "album")
	require.Error(t, err)
	return node
}

// The picture and the table show which kind of path each connection takes.
func TestPaths(t *testing.T) {
	if os.Getenv(enable) == "" {
		t.Skip(enable + " is not set")
	}
	b := open(t, play(t), 1280, 900)
	for name, group := range map[string]string{
		"Phone": "lan", "Storage": "manual", "Ada": "relayed", "Office": "upgraded", "Camera": "failed", "Old laptop": "known",
	} {
		b.says("#picture .device."+group+" text", name)
		b.says("#peers .row."+group, name)
	}
	b.says("#peers .row.failed span:last-child", "no answer")
	b.says("#relays td", "ready")
	b.says("#peers .row.lan span:nth-child(4)", "/s")
	b.until(`document.querySelectorAll("#throughput canvas, #rtt canvas").length === 2`)
}

// TestScreenshot writes the picture for the documentation, if SDP2P_SCREENSHOT
// names a file for it.
func TestScreenshot(t *testing.T) {
	file := os.Getenv("SDP2P_SCREENSHOT")
	if file == "" || os.Getenv(enable) == "" {
		t.Skip("SDP2P_SCREENSHOT is not set")
	}
	node := play(t)
	b := open(t, node, 1280, 1180)
	b.do(emulation.SetTimezoneOverride("UTC"))
	b.says("#peers .row.failed", "Camera")
	// So that the plots have data.
	b.do(chromedp.Focus("#peers"), chromedp.KeyEvent(kb.Home), chromedp.Sleep(40*time.Second))
	for range 6 {
		b.do(chromedp.KeyEvent(kb.ArrowDown))
	}
	b.says("#h-peer", "Camera")
	var image []byte
	b.do(chromedp.CaptureScreenshot(&image))
	require.NoError(t, os.WriteFile(file, image, 0o644))
}
