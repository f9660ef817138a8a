package p2p_test

import (
	"context"
	"errors"
	"io"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A diary lists what has happened, in order.
type diary struct {
	mu    sync.Mutex
	steps []string
}

func (d *diary) note(step string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps = append(d.steps, step)
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.steps...)
}

// A bubble fails if a goroutine is left when its test returns. All tests here
// thereby check for leaks as well.

func TestShutdownOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var diary diary
		leave := make(chan struct{})
		mdns := &fakeHook{name: "mdns", run: func(ctx context.Context, s *p2p.Scope) error {
			s.Ready()
			<-ctx.Done()
			<-leave
			diary.note("goodbye")
			return nil
		}}
		wire := &fakeListener{fakeHook: fakeHook{name: "wire", run: func(ctx context.Context, s *p2p.Scope) error {
			s.Ready()
			<-ctx.Done()
			diary.note("listener")
			return nil
		}}}
		handler := p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			_, err := s.Read(make([]byte, 1))
			if ctx.Err() == nil || !errors.Is(err, p2p.ErrShuttingDown) {
				diary.note("a handler that ended too early")
			}
			s.Write([]byte("bye")) // writing is still possible
			diary.note("handler")
			return nil
		})
		node := start(t, p2p.Config{Handler: handler}, wire, mdns)
		id := newID()
		wire.connect(t, id)
		peer, _ := node.Peer(id)
		sub := node.Subscribe()
		out, far := opened(t, wire, peer)

		result := make(chan error, 1)
		go func() { result <- node.Shutdown(t.Context()) }()
		synctest.Wait()
		require.Empty(t, diary.read())
		in := wire.accept(id) // while the goodbye is being said, streams are still served
		synctest.Wait()
		require.Empty(t, diary.read())
		_, err := peer.NewStream(t.Context()) // but the node opens none
		require.ErrorIs(t, err, p2p.ErrClosed)

		close(leave)
		synctest.Wait()
		require.Equal(t, []string{"goodbye", "handler"}, diary.read())
		farewell, err := io.ReadAll(in)
		require.NoError(t, err)
		require.Equal(t, "bye", string(farewell))
		require.NoError(t, in.Close())
		_, err = wire.accept(id).Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrShuttingDown)
		require.Empty(t, result)

		_, err = out.Write([]byte("x")) // outbound streams go on
		require.NoError(t, err)
		require.NoError(t, far.Close())
		require.NoError(t, out.Close())
		require.NoError(t, <-result)
		require.Equal(t, []string{"goodbye", "handler", "listener"}, diary.read())
		events := drain(sub)
		require.Equal(t, p2p.ListenerUnregistered{Listener: "wire"}, events[len(events)-1])
		require.Contains(t, events, p2p.Event(p2p.PeerUnavailable{Peer: peer}))
		_, open := <-sub.C
		require.False(t, open)
	})
}

func TestShutdownWaitsForOutboundStreams(t *testing.T) {
	for name, test := range map[string]struct{ deadline, want time.Duration }{
		"without a deadline":   {0, 5 * time.Second},
		"with a near deadline": {2 * time.Second, 2 * time.Second},
		"with a far deadline":  {time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node, l, peer := pair(t, p2p.Config{})
				forgotten, far := opened(t, l, peer)
				ctx := t.Context()
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				began := time.Now()
				err := node.Shutdown(ctx)
				require.Equal(t, test.want, time.Since(began))
				require.NoError(t, err, "everything has stopped")
				_, err = far.Read(make([]byte, 1))
				require.ErrorIs(t, err, p2p.ErrShuttingDown)
				_, err = forgotten.Write([]byte("x"))
				require.ErrorIs(t, err, p2p.ErrShuttingDown)
				synctest.Wait()
				require.Empty(t, node.Peers())
			})
		})
	}
}

// TestShutdownEndsWhenStreamsDo closes an outbound stream whose peer takes its
// time: Shutdown waits for that peer, and no longer.
func TestShutdownEndsWhenStreamsDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, l, peer := pair(t, p2p.Config{})
		s, far := opened(t, l, peer)
		require.NoError(t, s.Close())
		time.AfterFunc(3*time.Second, func() { far.Close() })
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, node.Shutdown(ctx))
		require.Equal(t, 3*time.Second, time.Since(began))
	})
}

func TestShutdownNamesWhatOverran(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stubborn := &fakeHook{name: "stubborn", run: func(ctx context.Context, s *p2p.Scope) error {
			s.Ready()
			<-release
			return nil
		}}
		prompt := &fakeHook{name: "prompt"}
		deaf := p2p.HandlerFunc(func(context.Context, *p2p.Stream) error {
			<-release
			return nil
		})
		l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
		node := start(t, p2p.Config{Handler: deaf}, prompt, stubborn, l)
		id := newID()
		l.connect(t, id)
		l.accept(id)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := node.Shutdown(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var overran *p2p.ShutdownError
		require.ErrorAs(t, err, &overran)
		require.Equal(t, []string{`hook "stubborn"`, "handlers"}, overran.Overran, "the others had little time, but they stopped")
		require.EqualError(t, err, `p2p: shutdown: hook "stubborn", handlers did not stop in time: context deadline exceeded`)
		require.Equal(t, err, node.Shutdown(t.Context()), "every caller gets the same result")
		close(release)
	})
}

// TestShutdownAlwaysNamesWhatOverran calls Shutdown with a context that is done
// from the start: the result does not depend on luck.
func TestShutdownAlwaysNamesWhatOverran(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 32 {
			slow := &fakeHook{name: "slow", run: func(ctx context.Context, s *p2p.Scope) error {
				s.Ready()
				<-ctx.Done()
				time.Sleep(3 * time.Second) // longer than the grace
				return nil
			}}
			node := start(t, p2p.Config{}, slow)
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errTest)
			err := node.Shutdown(ctx)
			require.IsType(t, &p2p.ShutdownError{}, err)
			require.ErrorIs(t, err, errTest)
			time.Sleep(time.Second) // simulated time, in which the hook ends
			synctest.Wait()
			require.Empty(t, node.Hooks())
		}
	})
}

func TestShutdownOfManyCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &fakeHook{name: "slow", run: func(ctx context.Context, s *p2p.Scope) error {
			s.Ready()
			<-ctx.Done()
			time.Sleep(3 * time.Second)
			return nil
		}}
		node := start(t, p2p.Config{}, slow)
		began := time.Now()
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				if err := node.Shutdown(t.Context()); err != nil || time.Since(began) != 3*time.Second {
					t.Errorf("Shutdown after %v: %v", time.Since(began), err)
				}
			})
		}
		synctest.Wait()
		// This caller has less time than the first ones.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, node.Shutdown(ctx), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
		callers.Wait()
		require.NoError(t, node.Shutdown(t.Context()))
		require.NoError(t, node.Shutdown(ctx), "once the result is known, the context does not matter")
	})
}

func TestAfterShutdown(t *testing.T) {
	node, l, peer := pair(t, p2p.Config{})
	require.NoError(t, node.Shutdown(t.Context()))
	require.Empty(t, node.Peers())
	require.Empty(t, node.Hooks())
	require.Empty(t, node.Listeners())
	require.False(t, peer.Available())
	require.ErrorIs(t, node.Register(t.Context(), l), p2p.ErrClosed)
	_, err := peer.NewStream(t.Context())
	require.ErrorIs(t, err, p2p.ErrClosed)
	require.ErrorIs(t, node.UpdateMetadata(func(map[string]string) {}), p2p.ErrClosed)
	_, err = peer.WaitMetadata(t.Context())
	require.ErrorIs(t, err, p2p.ErrUnavailable)
}

// TestShutdownWhileDialling lets the listener reach the peer only once streams
// are refused.
func TestShutdownWhileDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, l, peer := pair(t, p2p.Config{})
		near, far := newFakeStreams()
		found := make(chan struct{})
		l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
			<-found
			return near, nil
		}
		dialled := make(chan error, 1)
		go func() {
			_, err := peer.NewStream(t.Context())
			dialled <- err
		}()
		synctest.Wait()
		require.NoError(t, node.Shutdown(t.Context()))
		close(found)
		require.ErrorIs(t, <-dialled, p2p.ErrClosed)
		_, err := far.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrShuttingDown)
	})
}

func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var diary diary
		first := &fakeHook{name: "first", run: func(ctx context.Context, s *p2p.Scope) error {
			s.Ready()
			<-ctx.Done()
			diary.note("first ended")
			return nil
		}}
		bad := &fakeHook{name: "bad", run: func(context.Context, *p2p.Scope) error { return errTest }}
		third := &fakeHook{name: "third", run: func(context.Context, *p2p.Scope) error { panic("not reached") }}
		node, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{first, bad, third}, Logger: new(logBuffer).logger()})
		require.Nil(t, node)
		require.ErrorIs(t, err, errTest)
		require.Equal(t, []string{"first ended"}, diary.read())

		// A hook ignores that the context is done.
		release := make(chan struct{})
		never := &fakeHook{name: "never", run: func(context.Context, *p2p.Scope) error { <-release; return nil }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = p2p.Start(ctx, p2p.Config{App: "test", Hooks: []p2p.Hook{never}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var overran *p2p.ShutdownError
		require.ErrorAs(t, err, &overran)
		require.Equal(t, []string{`hook "never"`}, overran.Overran)
		close(release)

		// The context bounds only the start.
		ctx, cancel = context.WithCancel(t.Context())
		node, err = p2p.Start(ctx, p2p.Config{App: "test", Hooks: []p2p.Hook{&fakeHook{name: "one"}}})
		require.NoError(t, err)
		cancel()
		synctest.Wait()
		require.Len(t, node.Hooks(), 1)
		require.NoError(t, node.Shutdown(t.Context()))
	})
}

// inBubble counts only the goroutines of the bubble, since those of the runtime
// and of other tests come and go.
func inBubble(t testing.TB) int {
	t.Helper()
	b := make([]byte, 4<<20)
	bubble := regexp.MustCompile(`synctest bubble \d+\]`).FindString(string(b[:runtime.Stack(b, false)]))
	require.NotEmpty(t, bubble)
	n := runtime.Stack(b, true)
	require.Less(t, n, len(b))
	return strings.Count(string(b[:n]), bubble)
}

// TestNoGoroutineOutlivesShutdown counts goroutines around the life of a node
// that has been busy.
func TestNoGoroutineOutlivesShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := inBubble(t)
		handler := p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
			_, err := s.Read(make([]byte, 1))
			return err
		})
		node, l, peer := pair(t, p2p.Config{Handler: handler})
		for range 20 {
			l.accept(peer.Identity())
			opened(t, l, peer)
			s, _ := opened(t, l, peer)
			s.Close()
			go func() {
				for range node.Watch(t.Context()) {
				}
			}()
		}
		synctest.Wait()
		require.Greater(t, inBubble(t), before+40)
		require.NoError(t, node.Shutdown(t.Context()))
		synctest.Wait()
		require.Equal(t, before, inBubble(t))
	})
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
