package p2p_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

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

// After one second, a stream that delays Shutdown because its Close was
// forgotten is named in the log. A stream that was closed and only waits for
// its peer is not.
func TestForgottenCloseIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		release := make(chan struct{})
		var mux p2p.Mux
		mux.HandleFunc("stuck", p2p.Anyone, func(context.Context, *p2p.Stream) error {
			<-release
			return nil
		})
		node, l, peer := pair(t, p2p.Config{Handler: &mux, Logger: log.logger()})
		near, _ := newFakeStreams()
		l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
			return near, nil
		}
		_, err := peer.Open(t.Context(), "left open")
		require.NoError(t, err)
		closed, _ := opened(t, l, peer)
		require.NoError(t, closed.Close()) // its peer has not closed it yet
		_, err = l.accept(peer.Identity()).Write([]byte("\x05stuck"))
		require.NoError(t, err)
		synctest.Wait()

		ended := make(chan error)
		go func() { ended <- node.Shutdown(context.Background()) }()
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		require.NotContains(t, log.String(), "shutdown")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Len(t, log.lines("level=WARN", "delays the shutdown", "peer="+peer.String()), 2)
		require.Len(t, log.lines("level=WARN", `route="left open"`, "direction=outbound"), 1)
		require.Len(t, log.lines("level=WARN", "route=stuck", "direction=inbound"), 1)
		close(release)
		require.NoError(t, <-ended)
		require.Len(t, log.lines("shutdown"), 2)
	})
}

// If many streams were forgotten, the log names some and counts the rest.
func TestForgottenClosesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		node, l, peer := pair(t, p2p.Config{Logger: log.logger()})
		for range 40 {
			opened(t, l, peer)
		}
		require.NoError(t, node.Shutdown(context.Background()))
		require.Len(t, log.lines("delays the shutdown"), 16)
		require.Len(t, log.lines("delay the shutdown", "number=24"), 1)
	})
}

// A shutdown that no stream delays logs nothing.
func TestShutdownIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		node, l, peer := pair(t, p2p.Config{Logger: log.logger()})
		s, _ := opened(t, l, peer)
		time.AfterFunc(900*time.Millisecond, func() { s.Reset(p2p.ErrCanceled) })
		require.NoError(t, node.Shutdown(context.Background()))
		require.Empty(t, log.String())
	})
}

// A failed dial is logged as one line, with each attempt.
func TestDialFailedIsLogged(t *testing.T) {
	var log logBuffer
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{Logger: log.debug()}, l)
	id := newID()
	l.found(t, id)
	l.dial = func(_ context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
		return nil, &p2p.DialError{Peer: to, Attempts: []p2p.Attempt{
			{Candidate: via[0], Err: errors.New("first")},
			{Candidate: direct("192.0.2.2:2"), Err: errors.New("closed: \x1b[2J\u202egood bye")},
		}}
	}
	peer, _ := node.Peer(id)
	_, err := peer.NewStream(t.Context())
	require.Error(t, err)
	lines := log.lines("level=DEBUG", "dial failed", "peer="+id.String(), "192.0.2.1:1: first", "192.0.2.2:2: closed: ")
	require.Len(t, lines, 1)
	require.NotContains(t, lines[0], "HOSTILE")

	log.b.Reset()
	l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		return nil, errors.New(strings.Repeat("long", 1<<20))
	}
	_, err = peer.NewStream(t.Context())
	require.Error(t, err)
	require.Less(t, len(log.String()), 5000)
}

// A refused stream is logged as one line that says whose it was, for which
// route, and why.
func TestRefusedStreamsAreLogged(t *testing.T) {
	var log logBuffer
	var mux p2p.Mux
	mux.HandleFunc("echo", p2p.Anyone, echo)
	mux.HandleFunc("mine", p2p.Access{}, echo)
	mux.HandleFunc("broken", p2p.Anyone, func(context.Context, *p2p.Stream) error { return errors.New("\x1b[2J") })
	mux.HandleFunc("refused elsewhere", p2p.Anyone, func(context.Context, *p2p.Stream) error {
		return fmt.Errorf("wrapped: %w", &p2p.ResetError{Code: p2p.ErrRefused, Remote: true})
	})
	refusal := error(nil)
	_, l, peer := pair(t, p2p.Config{Handler: &mux, Logger: log.debug(), MaxStreamsPerPeer: 1, Allow: func(context.Context, p2p.Request) error {
		return refusal
	}})
	for name, test := range map[string]struct {
		sent    string
		refusal error
		want    []string
	}{
		"no route":       {"\x04Echo", nil, []string{"msg=refused", `route=""`, "not served", `\"Echo\"`, `\"echo\"`, `\"mine\"`}},
		"no route's end": {"\xc8" + strings.Repeat("x", 200), nil, []string{"msg=refused", `route=""`, "not served", strings.Repeat("x", 64) + `\"`}},
		"hostile route":  {"\x09a\u202ebcd\u00ad", nil, []string{"msg=refused", `route=""`, "not served", "is not printable"}},
		"no access":      {"\x04mine", nil, []string{"msg=refused", "route=mine", "p2p: refused"}},
		"gate":           {"\x04echo", errTest, []string{"msg=refused", `route=""`, errTest.Error()}},
		"handler":        {"\x06broken", nil, []string{"a handler returned an error", "route=broken", `x1b[2J`}},
		"other's reset":  {"\x11refused elsewhere", nil, []string{"a handler returned an error"}},
	} {
		t.Run(name, func(t *testing.T) {
			log.mu.Lock()
			log.b.Reset()
			refusal = test.refusal
			log.mu.Unlock()
			call(l.accept(peer.Identity()), test.sent)
			var lines []string
			require.Eventually(t, func() bool {
				lines = log.lines(append([]string{"level=DEBUG", "peer=" + peer.String()}, test.want...)...)
				return len(lines) > 0
			}, 10*time.Second, time.Millisecond, "%v in %v", test.want, &log)
			require.Len(t, lines, 1)
			require.NotContains(t, lines[0], "HOSTILE")
			require.NotContains(t, lines[0], strings.Repeat("x", 65))
		})
	}
}

// A node without a handler logs once what to do about it, and every stream at
// Debug.
func TestNoHandlerIsLogged(t *testing.T) {
	var log logBuffer
	_, l, peer := pair(t, p2p.Config{Logger: log.debug()})
	for range 3 {
		_, err := l.accept(peer.Identity()).Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrRefused)
	}
	require.Len(t, log.lines("level=WARN", "set p2p.Config.Handler"), 1)
	require.Len(t, log.lines("level=DEBUG", "msg=refused", "there is no handler"), 3)
}

// An error names only some of many routes.
func TestManyRoutes(t *testing.T) {
	var log logBuffer
	var mux p2p.Mux
	for i := range 30 {
		mux.HandleFunc(fmt.Sprintf("route %02d", i), p2p.Anyone, echo)
	}
	_, l, peer := pair(t, p2p.Config{Handler: &mux, Logger: log.debug()})
	_, err := call(l.accept(peer.Identity()), "\x04echo")
	require.ErrorIs(t, err, p2p.ErrNoRoute)
	require.Eventually(t, func() bool { return len(log.lines("route 15", "and 14 more")) == 1 }, 10*time.Second, time.Millisecond)
	require.NotContains(t, log.String(), "route 16")
}
