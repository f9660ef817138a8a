package p2p_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A measuredConn is a connection with figures.
type measuredConn struct {
	fakeConn
	stats p2p.ConnStats
}

func (c *measuredConn) Stats() p2p.ConnStats { return c.stats }

// A reportingHook returns a report that the test chooses.
type reportingHook struct {
	fakeHook
	report func(libraries bool) p2p.HookReport
}

func (h *reportingHook) Report(libraries bool) p2p.HookReport { return h.report(libraries) }

// events returns the notes of a node as text, without the times.
func events(node *p2p.P2P) (all []string) {
	for _, e := range node.State().Events {
		text := e.What
		for _, more := range []string{e.Hook, e.Route, e.Cause} {
			if more != "" {
				text += " " + more
			}
		}
		if e.Times > 1 {
			text += fmt.Sprintf(" ×%d", e.Times)
		}
		all = append(all, text)
	}
	return all
}

const someLibrary = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

// TestStateAsJSON compares the state of a node that has used most features, as
// JSON, with a stored file: programs may rely on this form.
func TestStateAsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := seeded(t, 1).Remote()
		book := &reportingHook{fakeHook{name: "book"}, func(libraries bool) p2p.HookReport {
			return p2p.HookReport{
				Counts: map[string]map[string]uint64{"book_pages": {"read": 3}}, Gauges: map[string]float64{"book_marks": 2},
				Details: map[string]bool{"libraries": libraries},
			}
		}}
		l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
		var mux p2p.Mux
		mux.HandleFunc("mine", p2p.Access{}, echo)
		node := start(t, p2p.Config{Identity: seeded(t, 2), Name: "Laptop", Handler: &mux, Metadata: map[string]string{someLibrary: "an instance"}}, l, book)
		require.NoError(t, node.UpdateMetadata(func(entries map[string]string) { delete(entries, "operating_system"); delete(entries, "os") }))
		require.NoError(t, l.scope.AddAddr(addr("0.0.0.0:7373")))
		require.NoError(t, book.scope.Discovered(id, map[string]string{"name": "Phone", someLibrary: "its instance"}, []p2p.Candidate{direct("192.0.2.1:1"), direct("192.0.2.2:2")}))
		peer, _ := node.Peer(id)
		l.dial = func(_ context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
			return nil, &p2p.DialError{Peer: to, Attempts: []p2p.Attempt{
				{Candidate: via[0], Err: p2p.ErrBusy, Took: time.Second},
				{Candidate: via[1], Err: errors.New("library " + someLibrary + "\x1b"), Took: time.Millisecond},
			}}
		}
		time.Sleep(time.Second)
		_, err := peer.Open(t.Context(), "echo")
		require.Error(t, err)

		path := p2p.Path{Kind: p2p.Relay, Remote: addr("198.51.100.1:3"), Relay: seeded(t, 3).Remote()}
		conn := &measuredConn{fakeConn{path: path, rtt: 20 * time.Millisecond}, p2p.ConnStats{Bytes: p2p.Bytes{Sent: 10, Received: 20}}}
		require.NoError(t, l.scope.Connected(id, conn))
		conn.path = p2p.Path{Kind: p2p.Direct, Remote: addr("192.0.2.1:1")}
		require.NoError(t, l.scope.Moved(id, conn, path))
		conn.stats = p2p.ConnStats{Bytes: p2p.Bytes{Sent: 100, Received: 200}, PacketsSent: 5, PacketsReceived: 6, PacketsLost: 1, Window: 12000}
		_, _ = opened(t, l, peer)
		_, err = call(l.accept(id), "\x04mine")
		require.ErrorIs(t, err, p2p.ErrRefused)
		synctest.Wait()
		time.Sleep(time.Second)

		got, err := json.MarshalIndent(node.State(), "", "\t")
		require.NoError(t, err)
		if os.Getenv("UPDATE") != "" {
			require.NoError(t, os.WriteFile("testdata/state.json", append(got, '\n'), 0o644))
		}
		want, err := os.ReadFile("testdata/state.json")
		require.NoError(t, err)
		require.Equal(t, string(want), string(got)+"\n")
		require.NotContains(t, string(got), "6ba7b810")
		var read p2p.State // programs can read it back
		require.NoError(t, json.Unmarshal(got, &read))
		again, err := json.MarshalIndent(read, "", "\t")
		require.NoError(t, err)
		require.Equal(t, string(got), string(again))

		all, err := json.Marshal(node.State(p2p.WithLibraries))
		require.NoError(t, err)
		require.Contains(t, string(all), `"`+someLibrary+`":"its instance"`)
		require.Contains(t, string(all), "library "+someLibrary)
		require.Contains(t, string(all), `"libraries":true`)
	})
}

// seeded returns an identity that is the same each time.
func seeded(t *testing.T, seed byte) identity.Identity {
	id, err := identity.FromSeed(bytes.Repeat([]byte{seed}, 32))
	require.NoError(t, err)
	return id
}

// Connections are counted by how they ended, and their bytes by the path that
// they took, which remain counted after a connection ended.
func TestConnectionsAreCounted(t *testing.T) {
	node, l, peer := pair(t, p2p.Config{})
	id := peer.Identity()
	direct := &measuredConn{fakeConn{path: p2p.Path{Kind: p2p.Direct}}, p2p.ConnStats{Bytes: p2p.Bytes{Sent: 1, Received: 2}}}
	require.NoError(t, l.scope.Connected(id, direct))
	for range 2 { // the bytes are not counted twice
		require.Equal(t, map[string]p2p.Bytes{"direct": {Sent: 1, Received: 2}}, node.State().Counters.Bytes)
	}
	direct.stats.End = "idle"
	direct.stats.Sent = 5
	require.NoError(t, l.scope.Disconnected(id, direct))
	require.NoError(t, l.scope.Disconnected(id, direct))
	state := node.State()
	require.Equal(t, map[string]p2p.Bytes{"direct": {Sent: 5, Received: 2}}, state.Counters.Bytes)
	require.Equal(t, state.Counters.Bytes, state.Peers[0].Bytes)
	require.Equal(t, map[string]uint64{"direct": 1, "unknown": 1}, state.Counters.Causes["connections"])
	require.Equal(t, map[string]uint64{"idle": 1}, state.Counters.Causes["connections_ended"])
	require.Equal(t, []string{"connected wire", "connected wire", "disconnected wire idle"}, events(node))
}

// The state distinguishes each kind of failure, by a count and by an event with
// its cause.
func TestFaultsAreTold(t *testing.T) {
	var mux p2p.Mux
	mux.HandleFunc("mine", p2p.Access{}, echo)
	mux.HandleFunc("echo", p2p.Anyone, echo)
	refusal := error(nil)
	cfg := p2p.Config{Handler: &mux, MaxStreamsPerPeer: 1, Allow: func(context.Context, p2p.Request) error { return refusal }}
	node, l, peer := pair(t, cfg)
	id := peer.Identity()
	last := func() string { all := events(node); return all[len(all)-1] }
	inbound := func(sent, route, reason string) {
		t.Helper()
		call(l.accept(id), sent)
		require.Eventually(t, func() bool { return node.State().Counters.Streams[route].Refused[reason] > 0 }, 10*time.Second, time.Millisecond)
		require.Eventually(t, func() bool { return last() == "refused "+route+space(route)+reason }, 10*time.Second, time.Millisecond, "%v", events(node))
		require.Eventually(t, func() bool { return len(node.State().Streams) == 0 }, 10*time.Second, time.Millisecond)
	}
	inbound("\x05other", "", "no route")
	inbound("\x04mine", "mine", "refused")
	refusal = errTest
	inbound("\x04echo", "", "refused")
	refusal = nil
	held := l.accept(id)
	inboundBusy := l.accept(id)
	_, err := inboundBusy.Read(make([]byte, 1))
	require.ErrorIs(t, err, p2p.ErrBusy)
	require.Equal(t, "refused busy", last())
	held.Close()
	require.Eventually(t, func() bool { return last() == "refused no route" && len(node.State().Streams) == 0 }, 10*time.Second, time.Millisecond)

	require.ErrorIs(t, node.Allows(t.Context(), p2p.Request{Action: p2p.Connect, Peer: id}), nil)
	node.Revoke(id)
	require.Equal(t, "revoked", last())
	require.ErrorIs(t, node.Allows(t.Context(), p2p.Request{Action: p2p.Connect, Peer: id}), p2p.ErrRevoked)
	require.Equal(t, "refused revoked", last())
	require.Equal(t, map[string]uint64{"connect": 1}, node.State().Counters.Causes["requests_refused"])
	_, err = peer.Open(t.Context(), "echo")
	require.ErrorIs(t, err, p2p.ErrRevoked)
	require.Equal(t, "dial failed revoked", last())
	node.Reinstate(id)
	require.Equal(t, "reinstated", last())

	near, far := newFakeStreams()
	l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		return near, nil
	}
	s, err := peer.Open(t.Context(), "theirs")
	require.NoError(t, err)
	far.Reset(p2p.ErrNoRoute)
	for range 2 {
		_, err = s.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrNoRoute)
	}
	require.Equal(t, "refused there theirs no route", last())
	require.Equal(t, p2p.StreamCounters{Opened: 1, Refused: map[string]uint64{}, RefusedThere: map[string]uint64{"no route": 1}}, node.State().Counters.Streams["theirs"])
}

func space(after string) string {
	if after == "" {
		return ""
	}
	return " "
}

// Failed dials are counted by cause, and so are the attempts at each candidate.
func TestDialsAreCounted(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	id := newID()
	dial := func(ctx context.Context) {
		_, err := node.DialContext("echo")(ctx, "", id.Host())
		require.Error(t, err)
	}
	dial(t.Context())
	l.found(t, id)
	l.dial = func(_ context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
		return nil, &p2p.DialError{Peer: to, Attempts: []p2p.Attempt{
			{Candidate: via[0], Err: fmt.Errorf("wrapped: %w", named("not finished"))}, {Candidate: via[0], Err: named("other peer")}, {Candidate: via[0], Err: errTest},
		}}
	}
	dial(t.Context())
	dial(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dial(ctx)
	state := node.State()
	require.Equal(t, map[string]uint64{"no candidate": 1, "other peer": 2, "canceled": 1}, state.Counters.Causes["dials_failed"])
	require.Equal(t, map[string]uint64{"not finished": 2, "other peer": 2, "other": 2}, state.Counters.Causes["attempts_failed"])
	require.Equal(t, []string{"dial failed no candidate", "found wire", "dial failed other peer ×2", "dial failed canceled"}, events(node))
	require.Equal(t, "other", state.Peers[0].Candidates[0].Cause, "the cause of the candidate's last attempt")
}

type named string

func (n named) Error() string { return "quic: " + string(n) }
func (n named) Cause() string { return string(n) }

// A flood of discoveries displaces neither failures nor connections, and the
// number of notes that are kept is bounded.
func TestNotesOfAKind(t *testing.T) {
	node, l, _ := pair(t, p2p.Config{})
	for range 300 {
		l.found(t, newID())
	}
	all := events(node)
	require.Len(t, all, 65)
	require.Equal(t, "connected wire", all[0])
	for range 1000 {
		l.scope.Note(identity.RemoteIdentity{}, errTest)
	}
	all = events(node)
	require.Len(t, all, 66)
	require.Equal(t, "reported wire other ×1000", all[65])
}

// All notes of one change have the same time, that of the change.
func TestNotesOfAChange(t *testing.T) {
	book, table := &fakeHook{name: "book", end: make(chan func() error)}, &fakeHook{name: "table"}
	node := start(t, p2p.Config{MaxPeers: 100}, book, table)
	times := func(what, hook string) (all []time.Time) {
		for _, e := range node.State().Events {
			if e.What == what && e.Hook == hook {
				all = append(all, e.Time)
			}
		}
		return all
	}
	for range 50 {
		book.found(t, newID())
		table.found(t, newID())
	}
	book.end <- func() error { return nil }
	require.Eventually(t, func() bool { return len(times(p2p.NoteLost, "book")) == 50 }, 10*time.Second, time.Millisecond)
	lost := times(p2p.NoteLost, "book")
	for _, at := range lost {
		require.Equal(t, lost[0], at)
	}
	for range 51 {
		table.found(t, newID())
	}
	evicted, found := times(p2p.NoteLost, "table"), times(p2p.NoteFound, "table")
	require.Len(t, evicted, 1)
	require.Equal(t, found[len(found)-1], evicted[0])
}

// The names under which things are counted, and the routes, are bounded in
// number.
func TestCountsAreBounded(t *testing.T) {
	node, l, peer := pair(t, p2p.Config{})
	for i := range 2000 {
		l.scope.Count("things", fmt.Sprint(i), 1)
	}
	things := node.State().Counters.Causes["things"]
	require.LessOrEqual(t, len(things), 512)
	require.Greater(t, things["other"], uint64(1000))
	l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		near, _ := newFakeStreams()
		return near, nil
	}
	for i := range 400 {
		s, err := peer.Open(t.Context(), fmt.Sprint("route ", i))
		require.NoError(t, err)
		s.Reset(p2p.ErrCanceled)
	}
	routes := node.State().Counters.Streams
	require.Len(t, routes, 257)
	require.EqualValues(t, 144, routes["(others)"].Opened)
}

// A logger may read the node, as a logger that sends reports might: the node's
// lock is not held while it logs.
func TestLoggersMayUseTheNode(t *testing.T) {
	var node *p2p.P2P
	handler := &callingHandler{Handler: slog.DiscardHandler}
	node, l, _ := pair(t, p2p.Config{Logger: slog.New(handler)})
	handler.call = func() { node.State() }
	l.found(t, newID())
	require.Positive(t, handler.calls)
}

type callingHandler struct {
	slog.Handler
	call  func()
	calls int
}

func (h *callingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *callingHandler) Handle(context.Context, slog.Record) error {
	if h.call != nil {
		h.calls++
		h.call()
	}
	return nil
}

func (h *callingHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
