package mdns

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// An ear is a listener with an address to announce, which does not listen.
type ear struct{}

func (ear) Name() string { return "ear" }

func (ear) Run(ctx context.Context, s *p2p.Scope) error {
	err := s.AddAddr(netip.AddrPortFrom(netip.IPv4Unspecified(), 7373))
	s.Ready()
	<-ctx.Done()
	return err
}

func (ear) Dial(_ context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	e := &p2p.DialError{Peer: to}
	for _, c := range via {
		e.Attempts = append(e.Attempts, p2p.Attempt{Candidate: c, Err: p2p.ErrUnavailable})
	}
	return nil, e
}

// A member is a node on the network.
type member struct {
	*p2p.P2P
	discovery *Discovery
	host      *dnssdtest.Host

	mu     sync.Mutex
	events []p2p.Event
	lines  []string // the log, from level Info on
}

// addrOf returns the IPv4 address of the n-th host.
func addrOf(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

// join starts a node on the n-th host of a link. It ends at the latest with the
// test's bubble.
func join(t *testing.T, link *dnssdtest.Link, n int, cfg p2p.Config, mc Config) *member {
	t.Helper()
	return joinAs(t, link, dnssd.Interface{
		Index: 2, Name: "eth0", MTU: 1500, Up: true, Multicast: true, Addrs: []netip.Prefix{netip.PrefixFrom(addrOf(n), 24)},
	}, ear{}, cfg, mc)
}

// joinAs starts a node with an interface and a listener.
func joinAs(t *testing.T, link *dnssdtest.Link, ifc dnssd.Interface, l p2p.Listener, cfg p2p.Config, mc Config) *member {
	t.Helper()
	m := &member{host: dnssdtest.NewHost()}
	m.host.Plug(link, ifc)
	mc.network = m.host
	m.discovery = New(mc)
	cfg.App = "sd"
	cfg.Logger = slog.New(slog.NewTextHandler(m, nil))
	cfg.Hooks = []p2p.Hook{l, m.discovery}
	var err error
	m.P2P, err = p2p.Start(t.Context(), cfg)
	require.NoError(t, err)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for e := range m.Watch(context.Background()) {
			m.mu.Lock()
			m.events = append(m.events, e)
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, m.Shutdown(context.Background()))
		<-watched
	})
	return m
}

// Write records a line of the log.
func (m *member) Write(line []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, string(line))
	return len(line), nil
}

func (m *member) logged(text string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, line := range m.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// count returns the number of events of a type so far.
func count[E p2p.Event](m *member) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if _, ok := e.(E); ok {
			n++
		}
	}
	return n
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
