package qlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/quic/qlog"
)

const patience = time.Minute

// A file is a writer that a test controls.
type file struct {
	peer    identity.RemoteIdentity
	write   func([]byte) (int, error) // if nil, the file takes everything
	mu      sync.Mutex
	b       bytes.Buffer
	closed  bool
	closing func()        // called by Close; may be nil
	written chan struct{} // closed at the first Write
	once    sync.Once
}

func (f *file) Write(b []byte) (int, error) {
	f.once.Do(func() { close(f.written) })
	if f.write != nil {
		return f.write(b)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.b.Write(b)
}

func (f *file) Close() error {
	if f.closing != nil {
		f.closing()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func (f *file) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// A node with the qlogs that it has written.
type node struct {
	*p2p.P2P
	listener *quic.Listener
	scope    *p2p.Scope
	closing  func() // called by each writer's Close
	log      bytes.Buffer
	logMu    sync.Mutex

	mu    sync.Mutex
	files []*file
}

func (n *node) Name() string { return "finder" }

func (n *node) Run(ctx context.Context, s *p2p.Scope) error {
	n.scope = s
	s.Ready()
	<-ctx.Done()
	return nil
}

func (n *node) Write(b []byte) (int, error) {
	n.logMu.Lock()
	defer n.logMu.Unlock()
	return n.log.Write(b)
}

func (n *node) logged() string {
	n.logMu.Lock()
	defer n.logMu.Unlock()
	return n.log.String()
}

func (n *node) all() []*file {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*file(nil), n.files...)
}

// start starts a node whose qlogs are written with write; open is called before
// each writer is made.
func start(t *testing.T, open func(), write func([]byte) (int, error)) *node {
	t.Helper()
	n := &node{}
	n.listener = quic.New(quic.Config{QLog: qlog.New(func(peer identity.RemoteIdentity) io.WriteCloser {
		open()
		f := &file{peer: peer, write: write, closing: n.closing, written: make(chan struct{})}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.files = append(n.files, f)
		return f
	})})
	var mux p2p.Mux
	mux.HandleFunc("echo", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error { _, err := io.Copy(s, s); return err })
	var err error
	n.P2P, err = p2p.Start(t.Context(), p2p.Config{App: "test", Handler: &mux, Hooks: []p2p.Hook{n.listener, n}, Logger: slog.New(slog.NewTextHandler(n, nil))})
	require.NoError(t, err)
	t.Cleanup(func() { n.Shutdown(context.Background()) })
	return n
}

// talk sends a number of bytes to another node, which echoes them.
func (n *node) talk(t *testing.T, to *node, size int) {
	t.Helper()
	port, _ := to.listener.Port()
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	require.NoError(t, n.scope.Discovered(to.Identity(), nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: at, Version: 2}}))
	peer, _ := n.Peer(to.Identity())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := peer.Open(ctx, "echo")
	require.NoError(t, err)
	defer s.Close()
	s.SetDeadline(time.Now().Add(patience))
	go func() {
		s.Write(make([]byte, size))
		s.CloseWrite()
	}()
	b, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Len(t, b, size)
}

// records checks that a text is a JSON text sequence (RFC 7464), and returns
// its texts.
func records(t *testing.T, text string) (all []map[string]any) {
	t.Helper()
	require.True(t, strings.HasPrefix(text, "\x1e"))
	for _, r := range strings.Split(text[1:], "\x1e") {
		require.True(t, strings.HasSuffix(r, "\n"), r)
		var v map[string]any
		require.NoError(t, json.Unmarshal([]byte(r), &v), r)
		all = append(all, v)
	}
	return all
}

func nothing() {}

// A connection has a qlog at both ends. It is valid, names the peer, reports
// packets, and is closed when Shutdown returns.
func TestQLog(t *testing.T) {
	t.Parallel()
	a, b := start(t, nothing, nil), start(t, nothing, nil)
	a.talk(t, b, 100_000)
	require.NoError(t, a.Shutdown(t.Context()))
	require.NoError(t, b.Shutdown(t.Context()))
	for _, c := range []struct {
		of, with *node
		point    string
	}{{a, b, "client"}, {b, a, "server"}} {
		files := c.of.all()
		require.Len(t, files, 1)
		f := files[0]
		require.Equal(t, c.with.Identity(), f.peer)
		require.True(t, f.isClosed())
		all := records(t, f.b.String())
		require.Equal(t, "application/qlog+json-seq", all[0]["serialization_format"])
		require.Equal(t, c.point, all[0]["trace"].(map[string]any)["vantage_point"].(map[string]any)["type"])
		require.Equal(t, "peer "+c.with.Identity().String(), all[1]["data"].(map[string]any)["message"])
		names := map[any]int{}
		for _, r := range all[1:] {
			names[r["name"]]++
		}
		require.Positive(t, names["transport:packet_sent"], names)
		require.Greater(t, names["transport:packet_received"], 3, names)
		require.Positive(t, names["transport:connection_closed"], names)
		require.Equal(t, 1, names["loglevel:info"], "no record was left out")
	}
}

// A writer that fails ends its qlog, and nothing else; the reason is logged.
func TestWriterFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		open  func()
		write func([]byte) (int, error)
		want  string
	}{
		"error":          {nothing, func([]byte) (int, error) { return 0, errors.New("the disk is full") }, "the disk is full"},
		"panic":          {nothing, func([]byte) (int, error) { panic("oh") }, "has panicked: oh"},
		"panic at first": {func() { panic("no") }, nil, "has panicked: no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := start(t, c.open, c.write), start(t, nothing, nil)
			a.talk(t, b, 200_000)
			require.NoError(t, a.Shutdown(t.Context()))
			require.Contains(t, a.logged(), "the qlog of a connection cannot be written")
			require.Contains(t, a.logged(), c.want)
			for _, f := range a.all() {
				require.True(t, f.isClosed())
			}
		})
	}
}

// A writer that blocks holds up neither the connection nor the shutdown, and
// the data that waits for it is bounded.
func TestWriterBlocks(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	a, b := start(t, nothing, func([]byte) (int, error) { <-release; return 0, errors.New("late") }), start(t, nothing, nil)
	defer close(release)
	for range 2 {
		a.talk(t, b, 1_000_000)
	}
	<-a.all()[0].written
	require.NoError(t, a.Shutdown(t.Context()))
	require.False(t, a.all()[0].isClosed())
}

// Shutdown waits for a writer that takes a moment to close.
func TestShutdownWaitsForWriters(t *testing.T) {
	t.Parallel()
	returned, early := make(chan struct{}), make(chan bool, 1)
	a, b := start(t, nothing, nil), start(t, nothing, nil)
	a.closing = func() {
		select {
		case <-returned:
			early <- true
		case <-time.After(20 * time.Millisecond):
			early <- false
		}
	}
	a.talk(t, b, 1000)
	require.NoError(t, a.Shutdown(t.Context()))
	close(returned)
	require.False(t, <-early)
}

// A qlog begins only once the peer is known: a peer that is not admitted has
// none.
func TestStrangersHaveNone(t *testing.T) {
	t.Parallel()
	a, b := start(t, nothing, nil), start(t, nothing, nil)
	b.Revoke(a.Identity())
	port, _ := b.listener.Port()
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	require.NoError(t, a.scope.Discovered(b.Identity(), nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: at, Version: 2}}))
	peer, _ := a.Peer(b.Identity())
	s, err := peer.Open(t.Context(), "echo")
	if err == nil {
		_, err = s.Read(make([]byte, 1))
	}
	require.Error(t, err)
	require.NoError(t, a.Shutdown(t.Context()))
	require.NoError(t, b.Shutdown(t.Context()))
	require.Empty(t, b.all())
}
