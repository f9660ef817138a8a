package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	stock "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/multistream"
	"github.com/sdp2p/p2p/internal/relaytest"
	"github.com/sdp2p/p2p/quic"
)

// patience bounds the waits of tests; nothing takes that long, even on a busy
// machine.
const patience = time.Minute

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startStock starts a relay of go-libp2p, which requires no tokens.
func startStock(t testing.TB, options ...stock.Option) *stockRelay {
	t.Helper()
	r := relaytest.Start(t, options...)
	return &stockRelay{Server{Identity: r.Identity, Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), r.Port)}}, r.Close}
}

// A stockRelay is a relay of go-libp2p.
type stockRelay struct {
	Server
	close func()
}

// A book tracks peers, and discovers none.
type book struct{ scope chan *p2p.Scope }

func (*book) Name() string { return "book" }

func (b *book) Run(ctx context.Context, s *p2p.Scope) error {
	b.scope <- s
	s.Ready()
	<-ctx.Done()
	return nil
}

// A node is a node with a relay client.
type node struct {
	*p2p.P2P
	relays   *Client
	listener *quic.Listener
	scope    *p2p.Scope // the book's scope
}

func start(t testing.TB, cfg Config, servers ...Server) *node {
	t.Helper()
	n := &node{listener: quic.New(quic.Config{})}
	cfg.Listener, cfg.Servers = n.listener, servers
	n.relays = New(cfg)
	b := &book{make(chan *p2p.Scope, 1)}
	pc := p2p.Config{App: "test", Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error { _, err := io.Copy(s, s); return err })}
	pc.Hooks = []p2p.Hook{n.listener, n.relays, b}
	if testing.Verbose() {
		pc.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	n.P2P, err = p2p.Start(within(t), pc)
	require.NoError(t, err)
	n.scope = <-b.scope
	t.Cleanup(func() { n.Shutdown(context.Background()) })
	return n
}

// know has two nodes track each other.
func know(t testing.TB, a, b *node) (ofB, ofA *p2p.Peer) {
	t.Helper()
	ofB, ofA = a.scope.Track(b.Identity()), b.scope.Track(a.Identity())
	eventually(t, func() bool { return a.relays.isTracked(b.Identity()) && b.relays.isTracked(a.Identity()) }, "tracked")
	return ofB, ofA
}

func eventually(t testing.TB, f func() bool, what string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			require.FailNow(t, "not in time", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ready waits until a node can be called at a number of relays.
func (n *node) ready(t testing.TB, relays int) {
	t.Helper()
	eventually(t, func() bool {
		ready := 0
		for _, s := range n.relays.States() {
			if s.State == Ready {
				ready++
			}
		}
		return ready >= relays
	}, "ready")
}

// echo requires that data on a stream is echoed.
func echo(t testing.TB, s net.Conn, size int) {
	t.Helper()
	b := make([]byte, size)
	rand.Read(b)
	s.SetDeadline(time.Now().Add(patience))
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(b)
		sent <- err
	}()
	back := make([]byte, size)
	_, err := io.ReadFull(s, back)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, b, back)
}

// A seam is a listener without a network: its dials return scripts.
type seam struct {
	mu       sync.Mutex
	dial     func(ctx context.Context, relay identity.RemoteIdentity) (*script, error)
	sessions []*script
	accepted []junction.Circuit
	refuses  error // error of accept; may be nil
	sent     []packet
	away     map[netip.Addr]bool // addresses of other private networks
	dead     map[netip.AddrPort]bool
}

// A packet is a packet that was sent.
type packet struct {
	b  []byte
	to netip.AddrPort
}

func (s *seam) Dial(ctx context.Context, addr netip.AddrPort, relay identity.RemoteIdentity) (junction.Session, error) {
	made, err := s.dial(ctx, relay)
	if err != nil {
		return nil, err
	}
	made.relay, made.addr = relay, addr
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, made)
	return made, nil
}

func (s *seam) Accept(c junction.Circuit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = append(s.accepted, c)
	return s.refuses
}

func (s *seam) Send(b []byte, to netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, packet{bytes.Clone(b), to})
}
func (s *seam) Dialable(a netip.AddrPort) bool { return a.IsValid() && a.Port() != 0 && !s.dead[a] }
func (s *seam) Addrs() []netip.AddrPort        { return nil }
func (s *seam) Neighbor(ip netip.Addr) bool    { return ip.IsPrivate() && !s.away[ip] }

// open returns the relays with sessions that are not closed.
func (s *seam) open() (all []identity.RemoteIdentity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, made := range s.sessions {
		if made.ctx.Err() == nil {
			all = append(all, made.relay)
		}
	}
	return all
}

// A script is a session with a relay that behaves as a test wants.
type script struct {
	relay    identity.RemoteIdentity
	addr     netip.AddrPort
	ctx      context.Context
	cancel   context.CancelFunc
	incoming chan junction.Stream
	access   func(net.Conn)              // if nil, it does not require a token
	hop      func(net.Conn, circuit.Hop) // if nil, it grants reservations
}

func newScript() *script {
	s := &script{incoming: make(chan junction.Stream)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}
func (s *script) Addr() netip.AddrPort  { return s.addr }
func (s *script) RTT() time.Duration    { return time.Millisecond }
func (s *script) Done() <-chan struct{} { return s.ctx.Done() }
func (s *script) Close() error          { s.cancel(); return nil }

func (s *script) Accept(ctx context.Context) (junction.Stream, error) {
	select {
	case in := <-s.incoming:
		return in, nil
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	return nil, net.ErrClosed
}

// stream returns both ends of a stream that ends with the session.
func (s *script) stream() (ours junction.Stream, theirs net.Conn) {
	a, b := net.Pipe()
	context.AfterFunc(s.ctx, func() { a.Close(); b.Close() })
	return oneWay{a}, b
}

// oneWay is a stream whose directions cannot be closed separately.
type oneWay struct{ net.Conn }

func (oneWay) CloseWrite() error { return nil }

func (s *script) Open(_ context.Context, protocol string) (junction.Stream, error) {
	switch {
	case s.ctx.Err() != nil:
		return nil, net.ErrClosed
	case protocol == circuit.AuthProtocol && s.access == nil:
		return nil, multistream.ErrNotSupported
	}
	ours, theirs := s.stream()
	go func() {
		if protocol == circuit.AuthProtocol {
			s.access(theirs)
			return
		}
		m, err := circuit.ReadHop(theirs)
		switch {
		case err != nil:
			theirs.Close()
		case s.hop != nil:
			s.hop(theirs, m)
		default:
			_, _ = theirs.Write(circuit.Hop{Type: circuit.HopStatus, Status: circuit.OK, Expire: time.Now().Add(time.Hour)}.Append(nil))
		}
	}()
	return ours, nil
}

// call has the relay announce a call from a peer, which then writes more, and
// returns the node's answer.
func (s *script) call(peer identity.RemoteIdentity, more string) (status circuit.Status, theirs net.Conn) {
	ours, theirs := s.stream()
	s.incoming <- ours
	_, _ = io.WriteString(theirs, multistream.Question(circuit.StopProtocol))
	if err := multistream.NewSelection(theirs).Answer(circuit.StopProtocol); err != nil {
		return 0, theirs
	}
	_, _ = theirs.Write(circuit.Stop{Type: circuit.StopConnect, Peer: peer}.Append(nil))
	m, err := circuit.ReadStop(theirs)
	if err != nil || m.Status != circuit.OK {
		return m.Status, theirs
	}
	go func() { _, _ = io.WriteString(theirs, more) }()
	return m.Status, theirs
}

var errTest = errors.New("what the test wants")

// Gateway returns no gateway.
func (*seam) Gateway() netip.Addr { return netip.Addr{} }

// Connect always fails.
func (*seam) Connect(context.Context, identity.RemoteIdentity, []netip.AddrPort) error {
	return errTest
}

// friends are the tracked peers of a node.
type friends map[identity.RemoteIdentity]bool

func (f friends) Stranger(id identity.RemoteIdentity) bool { return !f[id] }
func (friends) Speaks(identity.RemoteIdentity) int         { return 0 }

// Speaks returns 0 for every peer.
func (*seam) Speaks(identity.RemoteIdentity) int { return 0 }

// bare returns a client that runs on a seam until the test ends. It does not
// keep reservations by itself.
func bare(t testing.TB, s *seam, servers ...Server) *Client {
	t.Helper()
	c := &Client{
		log: slog.New(slog.DiscardHandler), changed: make(chan struct{}, 1), news: make(chan struct{}), seam: s,
		scope: new(p2p.Scope), node: friends{},
	}
	var cancel context.CancelFunc
	c.ctx, cancel = context.WithCancel(context.Background())
	require.NoError(t, c.Set(servers))
	t.Cleanup(func() {
		cancel()
		s.mu.Lock()
		for _, made := range s.sessions {
			made.cancel()
		}
		s.mu.Unlock()
		c.tasks.Wait()
	})
	return c
}

// entries returns list entries for relays that do not exist.
func entries(n int) (all []Server) {
	for i := range n {
		all = append(all, Server{Identity: identity.New().Remote(), Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 7374)}})
	}
	return all
}

// always returns a seam whose dials all succeed, with a session made by make.
func always(make func() *script) *seam {
	return &seam{dial: func(context.Context, identity.RemoteIdentity) (*script, error) { return make(), nil }}
}

var errUnreachable = errors.New("unreachable")
