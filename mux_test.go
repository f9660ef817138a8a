package p2p_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// echo sends the name of the route, and then everything it receives.
func echo(_ context.Context, s *p2p.Stream) error {
	if _, err := io.WriteString(s, s.Route()+":"); err != nil {
		return err
	}
	_, err := io.Copy(s, s)
	return err
}

// call writes b to a stream of the peer and returns the answer.
func call(far *fakeStream, b string) (string, error) {
	if _, err := io.WriteString(far, b); err != nil {
		return "", err
	}
	if err := far.CloseWrite(); err != nil { // the node may have reset the stream already
		return "", err
	}
	answer, err := io.ReadAll(far)
	far.Close()
	return string(answer), err
}

func TestMux(t *testing.T) {
	var log logBuffer
	friend := newID()
	var mux p2p.Mux
	mux.HandleFunc("echo", p2p.Anyone, echo)
	mux.HandleFunc("échô ☃", p2p.Anyone, echo)
	mux.HandleFunc(strings.Repeat("x", 255), p2p.Anyone, echo)
	mux.HandleFunc("friends", p2p.Only(func(p *p2p.Peer) bool { return p.Identity() == friend }), echo)
	mux.HandleFunc("nobody", p2p.Access{}, echo)
	mux.HandleFunc("never", p2p.Only(nil), echo)
	mux.HandleFunc("panic", p2p.Only(func(*p2p.Peer) bool { panic("who?") }), echo)
	mux.HandleFunc("broken", p2p.Anyone, func(context.Context, *p2p.Stream) error { return errTest })
	node, l, peer := pair(t, p2p.Config{Handler: &mux, Logger: log.logger()})
	l.connect(t, friend)
	require.NotNil(t, node)

	for name, test := range map[string]struct {
		sent, answer string
		err          error
	}{
		"route":               {"\x04echohello", "echo:hello", nil},
		"UTF-8":               {"\x0aéchô ☃hello", "échô ☃:hello", nil},
		"longest name":        {"\xff" + strings.Repeat("x", 255) + "y", strings.Repeat("x", 255) + ":y", nil},
		"no route":            {"\x04Echo", "", p2p.ErrNoRoute},
		"a part of a name":    {"\x03ech", "", p2p.ErrNoRoute},
		"only friends":        {"\x07friends", "", p2p.ErrRefused},
		"zero access":         {"\x06nobody", "", p2p.ErrRefused},
		"access without rule": {"\x05never", "", p2p.ErrRefused},
		"access that panics":  {"\x05panic", "", p2p.ErrRefused},
		"handler's error":     {"\x06broken", "", p2p.ErrHandlerFailed},
		"empty name":          {"\x00", "", p2p.ErrNoRoute},
		"not UTF-8":           {"\x02\xff\xfe", "", p2p.ErrNoRoute},
		"control character":   {"\x02a\n", "", p2p.ErrNoRoute},
		"cut name":            {"\x09ech", "", p2p.ErrNoRoute},
		"nothing":             {"", "", p2p.ErrNoRoute},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := call(l.accept(peer.Identity()), test.sent)
			require.ErrorIs(t, err, test.err)
			require.Equal(t, test.answer, answer)
		})
	}
	answer, err := call(l.accept(friend), "\x07friends!")
	require.NoError(t, err)
	require.Equal(t, "friends:!", answer)
	require.Contains(t, log.String(), "an access rule panicked")

	mux.HandleFunc("late", p2p.Anyone, echo) // routes can be added while it serves
	answer, err = call(l.accept(peer.Identity()), "\x04late!")
	require.NoError(t, err)
	require.Equal(t, "late:!", answer)
}

func TestZeroMuxServesNothing(t *testing.T) {
	_, l, peer := pair(t, p2p.Config{Handler: new(p2p.Mux)})
	_, err := call(l.accept(peer.Identity()), "\x04echo")
	require.ErrorIs(t, err, p2p.ErrNoRoute)
}

func TestMuxMisuse(t *testing.T) {
	var mux p2p.Mux
	mux.HandleFunc("echo", p2p.Anyone, echo)
	for name, register := range map[string]func(){
		"taken":      func() { mux.HandleFunc("echo", p2p.Anyone, echo) },
		"no name":    func() { mux.HandleFunc("", p2p.Anyone, echo) },
		"long name":  func() { mux.HandleFunc(strings.Repeat("x", 256), p2p.Anyone, echo) },
		"not UTF-8":  func() { mux.HandleFunc("\xff", p2p.Anyone, echo) },
		"control":    func() { mux.HandleFunc("a\x00", p2p.Anyone, echo) },
		"no handler": func() { mux.Handle("x", p2p.Anyone, nil) },
		"no func":    func() { mux.HandleFunc("x", p2p.Anyone, nil) },
		"nil func":   func() { mux.Handle("x", p2p.Anyone, p2p.HandlerFunc(nil)) },
		"nil route":  func() { mux.HandleRoute(p2p.Route{Name: "x", Access: p2p.Anyone}) },
	} {
		require.Panics(t, register, name)
	}
	require.NotPanics(t, func() { mux.HandleFunc("x", p2p.Anyone, echo) }, "a panic registers nothing")
}

func TestMuxFirstFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mux p2p.Mux
		mux.HandleFunc("echo", p2p.Anyone, echo)
		node, l, peer := pair(t, p2p.Config{Handler: &mux})
		silent, slow, patient := l.accept(peer.Identity()), l.accept(peer.Identity()), l.accept(peer.Identity())
		began := time.Now()
		_, err := io.WriteString(patient, "\x04echo")
		require.NoError(t, err)
		// Sending a byte now and then does not help.
		for _, part := range []string{"\x04", "e", "c", "h"} {
			_, err := io.WriteString(slow, part)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.ErrorIs(t, readError(silent), p2p.ErrTimeout)
		require.Equal(t, 5*time.Second, time.Since(began))
		require.ErrorIs(t, readError(slow), p2p.ErrTimeout)

		time.Sleep(time.Hour) // a stream that has named its route may be silent
		_, err = io.WriteString(patient, "x")
		require.NoError(t, err)
		b := make([]byte, len("echo:x"))
		_, err = io.ReadFull(patient, b)
		require.NoError(t, err)
		require.Equal(t, "echo:x", string(b))
		patient.Close()

		silent = l.accept(peer.Identity())
		synctest.Wait()
		require.NoError(t, node.Shutdown(t.Context()))
		require.ErrorIs(t, readError(silent), p2p.ErrShuttingDown)
	})
}

func TestMuxAndTheAncestor(t *testing.T) {
	for _, allow := range []bool{false, true} {
		mux := &p2p.Mux{AllowAncestor: allow}
		mux.HandleFunc("echo", p2p.Anyone, echo)
		_, l, peer := pair(t, p2p.Config{Handler: mux})
		near, far := newFakeStreams()
		near.version = 1
		l.scope.Accept(peer.Identity(), near)
		_, err := io.WriteString(far, "\x04echo")
		if err == nil {
			err = readError(far)
		}
		if allow {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, p2p.ErrRefused)
		}
		far.Close()
	}
}

func TestRouteLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mux p2p.Mux
		mux.HandleRoute(p2p.Route{Name: "two", Access: p2p.Anyone, MaxStreams: 2, Handler: p2p.HandlerFunc(
			func(ctx context.Context, s *p2p.Stream) error {
				b := make([]byte, 1)
				if _, err := s.Read(b); err != nil {
					return err
				}
				panic("a panic makes room as well")
			},
		)})
		mux.HandleFunc("echo", p2p.Anyone, echo)
		_, l, peer := pair(t, p2p.Config{Handler: &mux})
		other := newID()
		l.connect(t, other)
		dial := func() *fakeStream {
			far := l.accept(peer.Identity())
			io.WriteString(far, "\x03two")
			synctest.Wait()
			return far
		}
		first, second := dial(), dial()
		require.ErrorIs(t, readError(dial()), p2p.ErrBusy)
		foreign := l.accept(other)
		io.WriteString(foreign, "\x03two")
		synctest.Wait()
		answer, err := call(l.accept(peer.Identity()), "\x04echo!") // other routes are not affected
		require.NoError(t, err)
		require.Equal(t, "echo:!", answer)

		io.WriteString(first, "x")
		require.ErrorIs(t, readError(first), p2p.ErrHandlerFailed)
		second.Reset(p2p.ErrCanceled)
		synctest.Wait()
		third, fourth := dial(), dial()
		for _, s := range []*fakeStream{third, fourth, foreign} {
			require.NoError(t, s.broken())
		}
		require.ErrorIs(t, readError(dial()), p2p.ErrBusy)
		for _, s := range []*fakeStream{third, fourth, foreign} {
			s.Reset(p2p.ErrCanceled)
		}
	})
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
