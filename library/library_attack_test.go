package library_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tunnel"
)

// The tests in this file run over QUIC on the loopback interface, except those
// about limits and times.

// plenty are limits that a test does not reach.
var plenty = tunnel.Limits{PeerInFlight: 1 << 20, PeerPerSecond: 1 << 20, InFlight: 1 << 20, PerSecond: 1 << 20, AddressInFlight: 1 << 20}

// startQUIC starts a device's node, with a route "plain" besides the tunnels,
// and returns its address.
func (d *device) startQUIC(t testing.TB) netip.AddrPort {
	t.Helper()
	mux := d.hook()
	mux.HandleFunc("plain", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error { _, err := io.Copy(s, s); return err })
	node, addr := startQUIC(t, p2p.Config{Identity: d.id, Handler: mux, Logger: slog.New(&d.log), Hooks: []p2p.Hook{d.libraries}})
	d.P2P = node
	return addr
}

func startQUIC(t testing.TB, cfg p2p.Config) (*p2p.P2P, netip.AddrPort) {
	t.Helper()
	listener := quic.New(quic.Config{})
	cfg.App, cfg.Hooks = "test", append(cfg.Hooks, listener)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	node, err := p2p.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		node.Shutdown(ctx)
	})
	port, _ := listener.Port()
	return node, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

// meets makes a node believe that another one is at an address.
func meets(t testing.TB, node *p2p.P2P, id identity.RemoteIdentity, addr netip.AddrPort) {
	t.Helper()
	require.NoError(t, node.Register(t.Context(), &book{found: id, via: []p2p.Candidate{{Kind: p2p.Direct, Addr: addr}}}))
}

// A counter is a log handler that counts the errors of stream handlers.
type counter struct {
	mu   sync.Mutex
	errs []error
}

func (c *counter) Enabled(context.Context, slog.Level) bool { return true }
func (c *counter) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *counter) WithGroup(string) slog.Handler            { return c }

func (c *counter) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.errs = append(c.errs, err)
		}
		return true
	})
	return nil
}

// reset clears the counts.
func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = nil
}

// count returns the number of errors of a kind.
func (c *counter) count(kind error) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, err := range c.errs {
		if errors.Is(err, kind) {
			n++
		}
	}
	return n
}

// A middle copies streams between two nodes of its own, byte by byte, and
// records the bytes.
type middle struct {
	far *p2p.P2P // the node that connects to the target
	to  identity.RemoteIdentity

	mu      sync.Mutex
	out, in bytes.Buffer
	streams int
}

func (m *middle) ServeStream(ctx context.Context, s *p2p.Stream) error {
	if s.RemoteIdentity() == m.to {
		return p2p.ErrNoRoute // the target's own streams are not forwarded
	}
	peer, ok := m.far.Peer(m.to)
	if !ok {
		return p2p.ErrUnavailable
	}
	other, err := peer.NewStream(ctx)
	if err != nil {
		return err
	}
	defer other.Close()
	m.mu.Lock()
	m.streams++
	m.mu.Unlock()
	answered := make(chan error, 1)
	go func() {
		err := m.copy(s, other, &m.in)
		if err != nil {
			code := p2p.ErrCanceled
			errors.As(err, &code)
			s.Reset(code)
		}
		answered <- err
	}()
	if err := m.copy(other, s, &m.out); err != nil {
		other.Reset(p2p.ErrCanceled)
	}
	return <-answered
}

// copy copies one direction, including its end.
func (m *middle) copy(to, from *p2p.Stream, seen *bytes.Buffer) error {
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		m.mu.Lock()
		seen.Write(b[:n])
		m.mu.Unlock()
		if _, err := to.Write(b[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return to.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

// passed returns the bytes and the number of streams since the last call.
func (m *middle) passed() (out, in string, streams int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, in, streams = m.out.String(), m.in.String(), m.streams
	m.out.Reset()
	m.in.Reset()
	m.streams = 0
	return out, in, streams
}

// reads requires that a middle can read the bytes that a node sends to another
// one without a tunnel.
func (m *middle) reads(t *testing.T, from *p2p.P2P, to identity.RemoteIdentity) {
	plain, err := must(from.Peer(to)).Open(t.Context(), "plain")
	require.NoError(t, err)
	_, err = plain.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, plain.CloseWrite())
	got, err := io.ReadAll(plain)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	plain.Close()
	out, in, _ := m.passed()
	require.Contains(t, out, "hello")
	require.Equal(t, "hello", in)
}

// TestMiddle: a node sits between two members, forwards every byte unchanged,
// and may even hold the keys of their nodes. Both members notice it, and it can
// read and change nothing. The same node can read everything that the two send
// without a tunnel.
func TestMiddle(t *testing.T) {
	for name, stolen := range map[string]struct{ a, b bool }{
		"its own key": {}, "the key of the far node": {b: true}, "the key of the near node": {a: true}, "the keys of both": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newDevice(), newDevice()
			own := identity.New()
			near, far := own, own // the keys that a and b take for each other's node
			if stolen.b {
				near = b.id
			}
			if stolen.a {
				far = a.id
			}
			addr := b.startQUIC(t)
			m := &middle{to: b.id.Remote()}
			// A middle has two nodes, even if they have the same key, since a
			// node cannot connect to itself.
			m.far, _ = startQUIC(t, p2p.Config{Identity: far, Handler: m})
			meets(t, m.far, b.id.Remote(), addr)
			_, nearAddr := startQUIC(t, p2p.Config{Identity: near, Handler: m})
			a.startQUIC(t)
			meets(t, a.P2P, near.Remote(), nearAddr)

			m.reads(t, a.P2P, near.Remote())
			of, id, secret := newDevice(), uuid.New(), library.NewSecret() // of is not running
			loads := func(d, other *device, at identity.Identity) {
				c := newCharterOf(t, of, id, secret)
				c.join(d, library.RoleMember)
				c.join(&device{id: at, instance: other.instance}, library.RoleMember)
				d.load(t, c.record())
			}
			loads(a, b, near)
			loads(b, a, far)
			for range 2 {
				err := a.echo(t, b)
				require.ErrorIs(t, err, tunnel.ErrHandshake)
				require.ErrorIs(t, err, p2p.ErrTunnelRefused)
			}
			const each = 1 + len(library.Route) + 98
			var sent, answered string // including the streams of errands
			tries := 0
			require.Eventually(t, func() bool {
				o, i, n := m.passed()
				sent, answered, tries = sent+o, answered+i, tries+n
				return tries >= 2 && len(sent) == tries*each && b.log.count(tunnel.ErrHandshake) >= tries
			}, time.Minute, time.Millisecond)
			require.Zero(t, b.served())
			require.Zero(t, b.log.count(tunnel.ErrUnauthorized), "the handshake did not get that far")
			require.Empty(t, answered, "there was no answer")
			require.NotContains(t, sent, "echo")
		})
	}
}

// TestSpoofedDiscovery: if a discovery lies about a member's address, the node
// there is not connected.
func TestSpoofedDiscovery(t *testing.T) {
	a, b := newDevice(), newDevice()
	_, addr := startQUIC(t, p2p.Config{Handler: p2p.HandlerFunc(func(context.Context, *p2p.Stream) error {
		t.Error("the other node got a stream")
		return nil
	})})
	a.startQUIC(t)
	meets(t, a.P2P, b.id.Remote(), addr)
	a.add(t, b)
	require.True(t, a.presence(t, b).Available, "the discovery says so")
	require.ErrorIs(t, a.echo(t, b), quic.ErrOtherPeer)
	require.False(t, a.presence(t, b).Connected)
	require.Error(t, a.presence(t, b).Err)
}

// A tap is a stream that records the bytes written to it.
type tap struct {
	*p2p.Stream
	mu      sync.Mutex
	written [][]byte
}

func (s *tap) Write(b []byte) (int, error) {
	s.mu.Lock()
	s.written = append(s.written, bytes.Clone(b))
	s.mu.Unlock()
	return s.Stream.Write(b)
}

// TestReplay: a replayed first message opens no tunnel. On the same connection
// it is answered, but fails for lack of what only its author can add; on any
// other connection it gets no answer.
func TestReplay(t *testing.T) {
	a, b, m := newDevice(), newDevice(), newDevice()
	b.cfg.Limits = plenty
	addr := b.startQUIC(t)
	r := b.add(t, a).record()
	for _, d := range []*device{a, m} {
		d.startQUIC(t)
		meets(t, d.P2P, b.id.Remote(), addr)
	}
	a.load(t, r)
	m.pretend(t, r, b)
	recorded := &tap{}
	c := a.raw(t, b, func(s *p2p.Stream) net.Conn { recorded.Stream = s; return recorded })
	_, err := c.Write([]byte("\x04echo"))
	require.NoError(t, err)
	require.NoError(t, talk(c, "hello"))
	require.Eventually(t, func() bool { return b.served() == 1 }, time.Minute, time.Millisecond)
	m1, rest := recorded.written[0], bytes.Join(recorded.written[1:], nil)
	require.Len(t, m1, 98)

	replay := func(d *device) []byte {
		s, _ := d.stream(t, b.id.Remote())
		defer s.Close()
		_, err := s.Write(m1)
		require.NoError(t, err)
		answer := make([]byte, 48)
		n, err := io.ReadFull(s, answer)
		if err == nil {
			_, err = s.Write(rest)
			require.NoError(t, err)
			_, err = s.Read(make([]byte, 1))
		}
		require.ErrorIs(t, err, p2p.ErrTunnelRefused)
		return answer[:n]
	}
	first := replay(a)
	require.Len(t, first, 48)
	require.NotEqual(t, first, replay(a), "each answer differs")
	require.Empty(t, replay(m))
	a.stop(t)
	a.startQUIC(t)
	meets(t, a.P2P, b.id.Remote(), addr)
	require.Empty(t, replay(a), "no answer on another connection of the same two nodes")
	require.Equal(t, 1, b.served())
	require.Eventually(t, func() bool { return b.log.count(tunnel.ErrHandshake) == 4 }, time.Minute, time.Millisecond)
}

// TestFlood: strangers that open one tunnel after another cost no more than the
// limits allow, and a member is meanwhile served as fast as without them.
func TestFlood(t *testing.T) {
	const strangers, attempts = 20, 40
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		b.start(t, network, p2p.Config{Logger: slog.New(&b.log)})
		a.start(t, network, p2p.Config{})
		r := b.add(t, a).record()
		a.load(t, r)
		pass(5 * time.Second)
		all := []*device{a}
		records := map[*device]library.Record{}
		for i := range strangers {
			d, r := newDevice(), r
			if i%2 == 0 {
				r.Secret = library.NewSecret() // the other strangers know the secret
			}
			d.start(t, network, p2p.Config{})
			all, records[d] = append(all, d), r
		}
		for _, d := range all {
			network.Link(d.Identity(), b.Identity()).SetDelay(10 * time.Millisecond)
		}
		pass(time.Second)
		echo := func() time.Duration {
			at := time.Now()
			require.NoError(t, a.echo(t, b))
			return time.Since(at)
		}
		require.NoError(t, a.echo(t, b)) // this connects
		alone := echo()

		b.log.reset()
		begun, over := time.Now(), floods(t, records, b, attempts)
		served := 2
		for done := false; !done; served++ {
			require.Equal(t, alone, echo())
			select {
			case <-over:
				done = true
			case <-time.After(250 * time.Millisecond): // a member may open only five a second
			}
		}
		took := time.Since(begun)
		pass(time.Second)
		require.Equal(t, served, b.served())
		unread, strange := b.log.count(tunnel.ErrBusy), b.log.count(tunnel.ErrHandshake)
		known := b.log.count(tunnel.ErrUnauthorized)
		t.Logf("%d attempts in %v: %d without the secret and %d with it were tried, %d refused unread; %d tunnels of a member, each in %v",
			strangers*attempts, took, strange, known, unread, served, alone)
		require.Equal(t, strangers*attempts, unread+strange+known)
		require.Positive(t, strange)
		require.Positive(t, known)
		require.Greater(t, served, 4, "the flood lasted a while")
		require.LessOrEqual(t, strange+known, 50+int(100*took.Seconds()), "half of 100, and 100 a second")
	})
}

// floods has each of the devices open a number of tunnels, four at a time, all
// of which must be refused. The channel is closed when they are through.
func floods(t testing.TB, from map[*device]library.Record, to *device, attempts int) (over <-chan struct{}) {
	var flood sync.WaitGroup
	for d, r := range from {
		for range 4 {
			flood.Go(func() {
				for range attempts / 4 {
					time.Sleep(100 * time.Millisecond)
					if _, err := d.refusal(t, to, r, 0); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	done := make(chan struct{})
	go func() {
		flood.Wait()
		close(done)
	}()
	return done
}
