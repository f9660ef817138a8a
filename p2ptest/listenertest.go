package p2ptest

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

func (h HookTest) runListener(t *testing.T) {
	h.run(t, "DialUnknown", h.testDialUnknown)
	h.run(t, "DialCanceled", h.testDialCanceled)
	h.run(t, "DialDead", h.testDialDead)
	h.run(t, "DialWrongNode", h.testDialWrongNode)
	h.run(t, "Streams", h.testStreams)
	h.run(t, "Paths", h.testPaths)
	h.run(t, "Metadata", h.testMetadata)
	h.run(t, "HalfClose", h.testHalfClose)
	h.run(t, "Resets", h.testResets)
	h.run(t, "Transfer", h.testTransfer)
	h.run(t, "Deadlines", h.testDeadlines)
	h.run(t, "Backpressure", h.testBackpressure)
	h.run(t, "Exporter", h.testExporter)
	h.run(t, "CloseUnread", h.testCloseUnread)
	h.run(t, "CloseEarly", h.testCloseEarly)
	h.run(t, "Refused", h.testRefused)
	h.run(t, "Busy", h.testBusy)
	h.run(t, "Events", h.testEvents)
	h.run(t, "Restart", h.testRestart)
	h.run(t, "Gate", h.testGate)
	h.run(t, "Revoke", h.testRevoke)
}

// A duo is two nodes, each with a listener, that have discovered each other.
type duo struct {
	a, b   *p2p.P2P
	ab, ba *p2p.Peer // the other one, as each sees it
	la, lb p2p.Listener
}

func (h HookTest) newDuo(t *testing.T, a, b p2p.Handler) *duo {
	t.Helper()
	return h.newDuoWith(t, p2p.Config{Handler: a}, p2p.Config{Handler: b})
}

func (h HookTest) newDuoWith(t *testing.T, a, b p2p.Config) *duo {
	t.Helper()
	if h.FindBy == nil {
		network := NewNetwork(Config{Name: "p2ptest-static"})
		h.FindBy = func(*testing.T) p2p.Hook { return network.Discovery() }
	}
	d := &duo{la: h.newListener(t), lb: h.newListener(t)}
	a.Name, a.Hooks = "a", []p2p.Hook{d.la, h.FindBy(t)}
	b.Name, b.Hooks = "b", []p2p.Hook{d.lb, h.FindBy(t)}
	d.a, d.b = start(t, a), start(t, b)
	find := func(node, other *p2p.P2P) (peer *p2p.Peer) {
		until(t, node, "the nodes discover each other", func() bool {
			peer, _ = node.Peer(other.Identity())
			return peer != nil && len(peer.Info().Candidates) > 0
		})
		return peer
	}
	d.ab, d.ba = find(d.a, d.b), find(d.b, d.a)
	return d
}

func (h HookTest) newListener(t *testing.T) p2p.Listener {
	t.Helper()
	l, ok := h.New(t).(p2p.Listener)
	if !ok {
		t.Fatal("the hook is only sometimes a listener")
	}
	return l
}

// Pipe returns both ends of one stream between two nodes that it starts, for
// tests such as nettest.TestConn. The second end is served until it is closed
// or reset, or the test ends. One byte has already been sent and read.
func (h HookTest) Pipe(t *testing.T) (a, b *p2p.Stream) {
	t.Helper()
	accepted := make(chan *p2p.Stream, 1)
	d := h.newDuo(t, nil, p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
		_, err := io.ReadFull(s, make([]byte, 1))
		accepted <- s
		<-ctx.Done()
		return err
	}))
	a = newStream(t, d.ab)
	write(t, a, []byte{0})
	select {
	case b = <-accepted:
	case <-soon(t).Done():
		t.Fatal("the stream did not arrive")
	}
	t.Cleanup(func() { b.Reset(p2p.ErrCanceled) })
	return a, b
}

// newStream opens a stream that is reset at the end of the test.
func newStream(t *testing.T, to *p2p.Peer) *p2p.Stream {
	t.Helper()
	s, err := to.NewStream(soon(t))
	if err != nil {
		t.Fatalf("open a stream: %v", err)
	}
	t.Cleanup(func() { s.Reset(p2p.ErrCanceled) })
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatalf("set a deadline: %v", err)
	}
	return s
}

func write(t *testing.T, s *p2p.Stream, b []byte) {
	t.Helper()
	if n, err := s.Write(b); n != len(b) || err != nil {
		t.Fatalf("write %d bytes: %d, %v", len(b), n, err)
	}
}

// wantRead checks that a stream reads want next, and then its end if all is
// set.
func wantRead(t *testing.T, s *p2p.Stream, want string, all bool) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(s, got)
	if string(got[:n]) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
	if !all {
		return
	}
	if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d bytes, %v; want the end", n, err)
	}
}

// wantReset checks that an error is a reset by the peer with a code.
func wantReset(t *testing.T, what string, err error, code p2p.ResetCode) {
	t.Helper()
	var reset *p2p.ResetError
	if !errors.As(err, &reset) || !reset.Remote || reset.Code != code || !errors.Is(err, code) {
		t.Fatalf("%s: %v; want a reset by the peer: %v", what, err, code)
	}
}

// echoes is a handler that echoes what it reads.
var echoes = p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
})

// exchange sends a byte to a node that echoes it.
func exchange(s *p2p.Stream) error {
	if _, err := s.Write([]byte{'x'}); err != nil {
		return err
	}
	_, err := io.ReadFull(s, make([]byte, 1))
	return err
}

func mustExchange(t *testing.T, s *p2p.Stream) {
	t.Helper()
	if err := exchange(s); err != nil {
		t.Fatalf("exchange a byte: %v", err)
	}
}

// dead returns candidates at which nobody answers: ports of this computer that
// only a discard service would use.
func dead() []p2p.Candidate {
	return []p2p.Candidate{
		{Kind: p2p.Direct, Addr: netip.MustParseAddrPort("127.0.0.1:9")},
		{Kind: p2p.Manual, Addr: netip.MustParseAddrPort("127.0.0.2:9")},
	}
}

// wantFailure checks that a Dial has failed promptly, and with one attempt for
// each candidate.
func wantFailure(t *testing.T, began time.Time, raw p2p.RawStream, err error, to identity.RemoteIdentity, via []p2p.Candidate) {
	t.Helper()
	if took := time.Since(began); took > patience/3 {
		t.Errorf("dial took %v", took)
	}
	if err == nil {
		raw.Reset(p2p.ErrCanceled)
		t.Fatal("dial succeeded")
	}
	failed, ok := err.(*p2p.DialError)
	if !ok {
		t.Fatalf("dial: %T: %v; want a *p2p.DialError", err, err)
	}
	if failed.Peer != to {
		t.Errorf("dial: the error is about %v; want %v", failed.Peer, to)
	}
	if len(failed.Attempts) != len(via) {
		t.Errorf("dial: %d attempts: %v; want one for each of %d candidates", len(failed.Attempts), err, len(via))
	}
	if len(via) == 0 && failed.Err == nil {
		t.Error("dial: the error has neither an attempt nor a cause")
	}
	for _, c := range via {
		i := slices.IndexFunc(failed.Attempts, func(a p2p.Attempt) bool {
			return a.Candidate.Kind == c.Kind && a.Candidate.Addr == c.Addr && a.Candidate.Relay == c.Relay
		})
		if i < 0 || failed.Attempts[i].Err == nil {
			t.Errorf("dial: %v; want an attempt with a cause for %v", err, c)
		}
	}
}

func (h HookTest) testDialUnknown(t *testing.T) {
	l := h.newListener(t)
	start(t, p2p.Config{Hooks: []p2p.Hook{l}})
	began, to := time.Now(), identity.New().Remote()
	raw, err := l.Dial(soon(t), to, nil)
	wantFailure(t, began, raw, err, to, nil)
}

func (h HookTest) testDialCanceled(t *testing.T) {
	l := h.newListener(t)
	start(t, p2p.Config{Hooks: []p2p.Hook{l}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began, to := time.Now(), identity.New().Remote()
	raw, err := l.Dial(ctx, to, dead())
	wantFailure(t, began, raw, err, to, dead())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("dial: %v; want %v", err, context.Canceled)
	}

	ctx, cancel = context.WithCancel(t.Context())
	timer := time.AfterFunc(100*time.Millisecond, cancel)
	defer timer.Stop()
	began = time.Now()
	raw, err = l.Dial(ctx, to, dead()) // the error depends on whether the computer refuses the port
	wantFailure(t, began, raw, err, to, dead())
}

func (h HookTest) testDialDead(t *testing.T) {
	l := h.newListener(t)
	start(t, p2p.Config{Hooks: []p2p.Hook{l}})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began, to := time.Now(), identity.New().Remote()
	raw, err := l.Dial(ctx, to, dead())
	wantFailure(t, began, raw, err, to, dead())
}

// testDialWrongNode: a dial reaches only the intended node, even at another
// node's address.
func (h HookTest) testDialWrongNode(t *testing.T) {
	d := h.newDuo(t, echoes, echoes)
	began, to, via := time.Now(), identity.New().Remote(), d.ab.Info().Candidates
	raw, err := d.la.Dial(soon(t), to, via)
	wantFailure(t, began, raw, err, to, via)
	if _, ok := d.a.Peer(to); ok {
		t.Error("a peer that does not exist is connected")
	}
	mustExchange(t, newStream(t, d.ab))
}

// testPaths: both sides of a connection know which of them dialed, and that no
// relay is involved. A stream has the path of its connection.
func (h HookTest) testPaths(t *testing.T) {
	asked, inbound := make(chan p2p.Path, 2), make(chan p2p.Path, 1)
	d := h.newDuoWith(t, p2p.Config{}, p2p.Config{
		Handler: p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
			inbound <- s.Path()
			return echoes(ctx, s)
		}),
		Allow: func(_ context.Context, r p2p.Request) error {
			asked <- r.Path // of the connection, then of the stream
			return nil
		},
	})
	s := newStream(t, d.ab)
	mustExchange(t, s)
	for what, c := range map[string]struct {
		path   p2p.Path
		dialed bool
	}{
		"the stream that was opened":               {s.Path(), true},
		"the connection that was dialed":           {d.ab.Info().Connections[0].Path, true},
		"the connection that Allow is asked about": {<-asked, false},
		"the stream that Allow is asked about":     {<-asked, false},
		"the stream that is served":                {<-inbound, false},
		"the connection that was accepted":         {d.ba.Info().Connections[0].Path, false},
	} {
		if c.path.Kind != p2p.Direct || c.path.Dialed != c.dialed {
			t.Errorf("%s has the path %+v; want kind %v, dialed %t", what, c.path, p2p.Direct, c.dialed)
		}
	}
}

// testMetadata: each side states its metadata over the connection.
func (h HookTest) testMetadata(t *testing.T) {
	d := h.newDuo(t, echoes, echoes)
	mustExchange(t, newStream(t, d.ab))
	for _, c := range []struct {
		peer *p2p.Peer
		node *p2p.P2P
	}{{d.ab, d.b}, {d.ba, d.a}} {
		got, err := c.peer.WaitMetadata(soon(t))
		if err != nil || !maps.Equal(got, c.node.Metadata()) {
			t.Fatalf("the peer's metadata: %v, %v; want %v", got, err, c.node.Metadata())
		}
	}
	if err := d.b.UpdateMetadata(func(m map[string]string) { m["name"] = "another" }); err != nil {
		t.Fatal(err)
	}
	until(t, d.a, "the metadata follows", func() bool { return d.ab.Name() == "another" && d.ab.Verified() })
}

// testEvents: each node is told once that it is connected, and once that it no
// longer is. If both dial at the same time, there may be two connections, and
// the second may begin when the first has ended.
func (h HookTest) testEvents(t *testing.T) {
	h.checkEvents(t, 1, func(d *duo) []*p2p.Peer { return []*p2p.Peer{d.ab} })
	h.checkEvents(t, 2, func(d *duo) []*p2p.Peer { return []*p2p.Peer{d.ab, d.ba, d.ab, d.ba} })
}

// checkEvents opens streams at the same time and shuts the nodes down. Each
// node must be told in turn that it is connected and that it no longer is, most
// times at most.
func (h HookTest) checkEvents(t *testing.T, most int, streams func(*duo) []*p2p.Peer) {
	d := h.newDuo(t, echoes, echoes)
	eventsA, eventsB := d.a.Subscribe(), d.b.Subscribe()
	opened := make(chan error)
	all := streams(d)
	for _, to := range all {
		go func() {
			s, err := to.NewStream(soon(t))
			if err == nil {
				err = exchange(s)
				s.Close()
			}
			opened <- err
		}()
	}
	for range all {
		if err := <-opened; err != nil {
			t.Errorf("a stream: %v", err)
		}
	}
	if err := d.a.Shutdown(soon(t)); err != nil {
		t.Errorf("shut down: %v", err)
	}
	until(t, d.b, "the second node sees that the first has gone", func() bool { return len(d.b.Peers()) == 0 })
	if err := d.b.Shutdown(soon(t)); err != nil {
		t.Errorf("shut down: %v", err)
	}
	for _, c := range []struct {
		events   *p2p.Subscription
		listener p2p.Listener
		peer     identity.RemoteIdentity
	}{{eventsA, d.la, d.b.Identity()}, {eventsB, d.lb, d.a.Identity()}} {
		told := connections(c.events, c.listener.Name(), c.peer)
		turn := []string{"connected", "disconnected"}
		if n := len(told) / 2; n < 1 || n > most || !slices.Equal(told, slices.Repeat(turn, n)) {
			t.Errorf("events about the peer: %v; want connected and disconnected, %d times at most", told, most)
		}
	}
}

// connections returns the events about connections of a listener with a peer,
// until the subscription ends.
func connections(of *p2p.Subscription, listener string, peer identity.RemoteIdentity) (told []string) {
	for e := range of.C {
		switch e := e.(type) {
		case p2p.PeerConnectedWith:
			if e.Listener == listener && e.Peer.Identity() == peer {
				told = append(told, "connected")
			}
		case p2p.PeerDisconnectedWith:
			if e.Listener == listener && e.Peer.Identity() == peer {
				told = append(told, "disconnected")
			}
		}
	}
	return told
}

// testRestart: a listener that ends also ends its connections, which does not
// look like an end of streams; and it can be run again.
func (h HookTest) testRestart(t *testing.T) {
	d := h.newDuo(t, nil, echoes)
	s := newStream(t, d.ab)
	mustExchange(t, s)
	if err := d.b.Unregister(soon(t), d.lb); err != nil {
		t.Fatalf("unregister: %v", err)
	}
	if n, err := s.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read from a lost connection: %d bytes, %v; want an error of its own", n, err)
	}
	until(t, d.a, "the peer is not connected", func() bool { return !d.ab.Connected() })
	if err := d.b.Register(soon(t), d.lb); err != nil {
		t.Fatalf("register again: %v", err)
	}
	again := func() error { // the address may have changed, which the first node has yet to learn
		s, err := d.ab.NewStream(soon(t))
		if err != nil {
			return err
		}
		defer s.Reset(p2p.ErrCanceled)
		s.SetDeadline(time.Now().Add(patience))
		return exchange(s)
	}
	for began, err := time.Now(), again(); err != nil; err = again() {
		if time.Since(began) > patience {
			t.Fatalf("connect again: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
