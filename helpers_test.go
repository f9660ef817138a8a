package p2p_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/soak"
)

// TestMain sets the number of rapid's checks, unless the command line gives
// one.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given && !testing.Short() {
		flag.Set("rapid.checks", strconv.Itoa(soak.N(300, 2000)))
	}
	os.Exit(m.Run())
}

var errTest = errors.New("what the test wants")

// A fakeHook runs until its context is done or the test ends it.
type fakeHook struct {
	name  string
	run   func(ctx context.Context, s *p2p.Scope) error // if not nil, it replaces the body of Run
	end   chan func() error                             // ends Run with its result or panic; may be nil
	scope *p2p.Scope                                    // of the latest run, once it is ready
}

func (h *fakeHook) Name() string { return h.name }

func (h *fakeHook) Run(ctx context.Context, s *p2p.Scope) error {
	h.scope = s
	if h.run != nil {
		return h.run(ctx, s)
	}
	s.Ready()
	select {
	case end := <-h.end:
		return end()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A fakeListener is a fakeHook that dials with a function of the test.
type fakeListener struct {
	fakeHook
	dial func(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error)
}

func (l *fakeListener) Dial(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	if l.dial == nil {
		return nil, errTest
	}
	return l.dial(ctx, to, via)
}

// connect reports a connection with a peer.
func (l *fakeListener) connect(t testing.TB, id identity.RemoteIdentity) *fakeConn {
	conn := &fakeConn{}
	require.NoError(t, l.scope.Connected(id, conn))
	return conn
}

// accept lets a connected peer open a stream, and returns the peer's end.
func (l *fakeListener) accept(from identity.RemoteIdentity) *fakeStream {
	near, far := newFakeStreams()
	l.scope.Accept(from, near)
	return far
}

// A fakeConn is a RawConn with nothing behind it.
type fakeConn struct {
	path p2p.Path
	rtt  time.Duration
}

func (c *fakeConn) Path() p2p.Path     { return c.path }
func (c *fakeConn) RTT() time.Duration { return c.rtt }
func (c *fakeConn) Close() error       { return nil }

// start makes a node with hooks, which is shut down at the end of the test.
func start(t testing.TB, cfg p2p.Config, hooks ...p2p.Hook) *p2p.P2P {
	if cfg.App == "" {
		cfg.App = "test"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Hooks = hooks
	node, err := p2p.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { node.Shutdown(context.Background()) })
	return node
}

// pair makes a node with a listener and a connected peer.
func pair(t testing.TB, cfg p2p.Config) (*p2p.P2P, *fakeListener, *p2p.Peer) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, cfg, l)
	id := newID()
	l.connect(t, id)
	peer, ok := node.Peer(id)
	require.True(t, ok)
	return node, l, peer
}

// opened opens a stream to a peer, and returns the peer's end as well.
func opened(t testing.TB, l *fakeListener, peer *p2p.Peer) (*p2p.Stream, *fakeStream) {
	near, far := newFakeStreams()
	l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		return near, nil
	}
	s, err := peer.NewStream(t.Context())
	require.NoError(t, err)
	return s, far
}

func newID() identity.RemoteIdentity { return identity.New().Remote() }

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func direct(s string) p2p.Candidate { return p2p.Candidate{Kind: p2p.Direct, Addr: addr(s)} }

// drain returns the events that a subscription has now.
func drain(s *p2p.Subscription) (events []p2p.Event) {
	for {
		select {
		case e, ok := <-s.C:
			if !ok {
				return events
			}
			events = append(events, e)
		default:
			return events
		}
	}
}

// A logBuffer collects the output of a test's logger.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// fakeRoom is the number of bytes that a fakeStream buffers before its writer
// has to wait.
const fakeRoom = 64 << 10

// A fakeStream is one end of a stream in memory. It panics if it is used
// against the contract of RawStream.
type fakeStream struct {
	*fakeWire
	me, other *fakeEnd
	version   int
	path      p2p.Path
	exporter  *[32]byte
	onRead    func(deadline time.Time) // if not nil, called by SetReadDeadline before it does anything

	reads, writes atomic.Int32 // calls in progress
	ends          atomic.Int32 // number of calls of Close and Reset
}

// A fakeWire is the state that the two ends share.
type fakeWire struct {
	mu      sync.Mutex
	changed sync.Cond
	reset   bool
	code    p2p.ResetCode
	resetBy *fakeEnd
	lost    error
}

// A fakeEnd is guarded by fakeWire.mu.
type fakeEnd struct {
	sent    []byte // written, and not yet read by the other end
	done    bool   // CloseWrite was called
	deaf    bool   // it reads no more
	readBy  time.Time
	writeBy time.Time
}

func newFakeStreams() (near, far *fakeStream) {
	wire := &fakeWire{}
	wire.changed.L = &wire.mu
	a, b := &fakeEnd{}, &fakeEnd{}
	return &fakeStream{fakeWire: wire, me: a, other: b, version: 2}, &fakeStream{fakeWire: wire, me: b, other: a, version: 2}
}

// lose cuts the connection under the stream.
func (w *fakeWire) lose(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = err
	w.changed.Broadcast()
}

func passed(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

// broken returns the error with which all calls fail, or nil. The caller holds
// mu.
func (s *fakeStream) broken() error {
	if s.reset {
		return &p2p.ResetError{Code: s.code, Remote: s.resetBy != s.me}
	}
	return s.lost
}

func (s *fakeStream) Read(b []byte) (int, error) {
	if s.reads.Add(1) > 1 {
		panic("two Reads of a RawStream at once")
	}
	defer s.reads.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; ; s.changed.Wait() {
		if err := s.broken(); err != nil {
			return 0, err
		}
		if s.me.deaf {
			return 0, errors.New("fake: read after Close")
		}
		if passed(s.me.readBy) {
			return 0, os.ErrDeadlineExceeded
		}
		if n := copy(b, s.other.sent); n > 0 || len(b) == 0 {
			s.other.sent = s.other.sent[n:]
			s.changed.Broadcast()
			return n, nil
		}
		if s.other.done {
			return 0, io.EOF
		}
	}
}

func (s *fakeStream) Write(b []byte) (n int, err error) {
	if s.writes.Add(1) > 1 {
		panic("two calls of a RawStream's Write and CloseWrite at once")
	}
	defer s.writes.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; ; s.changed.Wait() {
		if err := s.broken(); err != nil {
			return n, err
		}
		if s.me.done {
			return n, errors.New("fake: write after CloseWrite")
		}
		if s.other.deaf {
			return n, &p2p.ResetError{Code: p2p.ErrCanceled, Remote: true}
		}
		if passed(s.me.writeBy) {
			return n, os.ErrDeadlineExceeded
		}
		part := b[n:min(len(b), n+fakeRoom-len(s.me.sent))]
		s.me.sent = append(s.me.sent, part...)
		n += len(part)
		s.changed.Broadcast()
		if n == len(b) {
			return n, nil
		}
	}
}

func (s *fakeStream) CloseWrite() error {
	if s.writes.Add(1) > 1 {
		panic("two calls of a RawStream's Write and CloseWrite at once")
	}
	defer s.writes.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.broken(); err != nil {
		return err
	}
	s.me.done = true
	s.changed.Broadcast()
	return nil
}

func (s *fakeStream) Close() error {
	s.ends.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.me.done, s.me.deaf = true, true
	s.changed.Broadcast()
	return s.broken()
}

func (s *fakeStream) Reset(code p2p.ResetCode) {
	s.ends.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reset && !(s.me.deaf && s.other.deaf) {
		s.reset, s.code, s.resetBy = true, code, s.me
	}
	s.changed.Broadcast()
}

func (s *fakeStream) SetReadDeadline(t time.Time) {
	if s.onRead != nil {
		s.onRead(t)
	}
	s.setDeadline(&s.me.readBy, t)
}
func (s *fakeStream) SetWriteDeadline(t time.Time) { s.setDeadline(&s.me.writeBy, t) }

func (s *fakeStream) setDeadline(deadline *time.Time, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*deadline = t
	s.changed.Broadcast()
	if d := time.Until(t); !t.IsZero() && d > 0 {
		time.AfterFunc(d, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changed.Broadcast()
		})
	}
}

func (s *fakeStream) LocalAddr() net.Addr  { return fakeAddr("near") }
func (s *fakeStream) RemoteAddr() net.Addr { return fakeAddr("far") }
func (s *fakeStream) Path() p2p.Path       { return s.path }
func (s *fakeStream) Version() int         { return s.version }

func (s *fakeStream) Exporter(label string) ([32]byte, bool) {
	if s.exporter == nil {
		return [32]byte{}, false
	}
	return *s.exporter, true
}

type fakeAddr string

func (a fakeAddr) Network() string { return "fake" }
func (a fakeAddr) String() string  { return string(a) }

// debug returns a logger that keeps all lines. It marks values that would
// affect a terminal, before the handler escapes them.
func (l *logBuffer) debug() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if strings.ContainsAny(a.Value.String(), "\x1b\u202e") {
			return slog.String(a.Key, "HOSTILE "+a.Value.String())
		}
		return a
	}}))
}

// lines returns the lines that contain all of the texts.
func (l *logBuffer) lines(texts ...string) (lines []string) {
	for line := range strings.Lines(l.String()) {
		has := true
		for _, text := range texts {
			has = has && strings.Contains(line, text)
		}
		if has {
			lines = append(lines, line)
		}
	}
	return lines
}

// found reports a peer with a candidate.
func (h *fakeHook) found(t *testing.T, id identity.RemoteIdentity) {
	t.Helper()
	require.NoError(t, h.scope.Discovered(id, nil, []p2p.Candidate{direct("192.0.2.1:1")}))
}
