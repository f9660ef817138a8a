package p2p_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

func TestRegisterReturnsWhenTheHookIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := start(t, p2p.Config{})
		serve, registered := make(chan struct{}), make(chan error, 1)
		slow := &fakeHook{name: "slow", run: func(ctx context.Context, s *p2p.Scope) error {
			<-serve
			s.Ready()
			s.Ready() // has no effect
			<-ctx.Done()
			return nil
		}}
		go func() { registered <- node.Register(t.Context(), slow) }()
		synctest.Wait()
		require.Empty(t, registered)
		require.Equal(t, []p2p.HookInfo{{Name: "slow"}}, node.Hooks())
		close(serve)
		require.NoError(t, <-registered)
		require.Equal(t, []p2p.HookInfo{{Name: "slow", Ready: true}}, node.Hooks())
	})
}

func TestRegisterFails(t *testing.T) {
	portInUse := errors.New("listen udp :7373: address already in use")
	for name, test := range map[string]struct {
		run  func() error
		want error
		text string
	}{
		"error":       {func() error { return portInUse }, portInUse, `p2p: hook "bad": listen udp :7373: address already in use`},
		"end":         {func() error { return nil }, nil, `p2p: hook "bad": ended before it was ready`},
		"panic":       {func() error { panic("oh") }, nil, `p2p: hook "bad": p2p: panic: oh`},
		"panic error": {func() error { panic(errTest) }, errTest, `p2p: hook "bad": p2p: panic: ` + errTest.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			node := start(t, p2p.Config{})
			bad := &fakeHook{name: "bad", run: func(context.Context, *p2p.Scope) error { return test.run() }}
			err := node.Register(t.Context(), bad)
			require.EqualError(t, err, test.text)
			if test.want != nil {
				require.ErrorIs(t, err, test.want)
			}
			var panicked *p2p.PanicError
			require.Equal(t, strings.HasPrefix(name, "panic"), errors.As(err, &panicked))
			hooks := node.Hooks()
			require.Len(t, hooks, 1)
			require.True(t, hooks[0].Stopped)

			bad.run = nil // it may be registered again
			require.NoError(t, node.Register(t.Context(), bad))
			require.Equal(t, []p2p.HookInfo{{Name: "bad", Ready: true}}, node.Hooks())
		})
	}
}

// uncomparable is a hook that == cannot compare with others of its type.
type uncomparable []string

func (u uncomparable) Name() string                          { return "uncomparable" }
func (u uncomparable) Run(context.Context, *p2p.Scope) error { return nil }

func TestRegisterRefuses(t *testing.T) {
	one := &fakeHook{name: "one"}
	node := start(t, p2p.Config{}, one)
	require.ErrorIs(t, node.Register(t.Context(), one), p2p.ErrRegistered)
	require.ErrorIs(t, node.Register(t.Context(), &fakeHook{name: "one"}), p2p.ErrRegistered)
	require.ErrorContains(t, node.Register(t.Context(), &fakeHook{}), "no name")
	require.ErrorContains(t, node.Register(t.Context(), nil), "nil")
	require.ErrorContains(t, node.Register(t.Context(), uncomparable{}), "comparable")
	require.ErrorIs(t, node.Unregister(t.Context(), &fakeHook{name: "one"}), p2p.ErrNotRegistered)
	require.ErrorIs(t, node.Unregister(t.Context(), nil), p2p.ErrNotRegistered)
	require.Len(t, node.Hooks(), 1)
	require.NoError(t, node.Shutdown(t.Context()))
	require.ErrorIs(t, node.Register(t.Context(), &fakeHook{name: "two"}), p2p.ErrClosed)
	require.ErrorIs(t, node.Unregister(t.Context(), one), p2p.ErrNotRegistered)
}

func TestRegisterEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := start(t, p2p.Config{})
		sub := node.Subscribe()
		defer sub.Close()
		ended := false
		never := &fakeHook{name: "never", run: func(ctx context.Context, s *p2p.Scope) error {
			<-ctx.Done()
			ended = true
			return ctx.Err()
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, node.Register(ctx, never), context.DeadlineExceeded)
		synctest.Wait()
		require.True(t, ended)
		require.Empty(t, node.Hooks())                          // the hook was asked to end
		require.Equal(t, []p2p.Event{p2p.Resync{}}, drain(sub)) // and so its end is not reported
	})
}

func TestHookStops(t *testing.T) {
	for name, end := range map[string]func() error{
		"nil":   func() error { return nil },
		"error": func() error { return errTest },
		"panic": func() error { panic(errTest) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logBuffer
				flaky := &fakeListener{fakeHook: fakeHook{name: "flaky", end: make(chan func() error)}}
				steady := &fakeHook{name: "steady"}
				node := start(t, p2p.Config{Logger: log.logger()}, flaky, steady)
				alone, both := newID(), newID()
				require.NoError(t, flaky.scope.Discovered(alone, nil, nil))
				require.NoError(t, flaky.scope.Discovered(both, map[string]string{"name": "anna"}, nil))
				require.NoError(t, steady.scope.Discovered(both, nil, nil))
				flaky.connect(t, both)
				flaky.connect(t, both)
				require.NoError(t, flaky.scope.AddAddr(addr("192.0.2.1:1")))
				lost, _ := node.Peer(alone)
				kept, _ := node.Peer(both)

				sub := node.Subscribe()
				defer sub.Close()
				flaky.end <- end
				synctest.Wait()
				events := drain(sub)[1:]
				stopped := events[len(events)-1].(p2p.HookStopped)
				require.Equal(t, "flaky", stopped.Hook)
				if name == "nil" {
					require.NoError(t, stopped.Err)
				} else {
					require.ErrorIs(t, stopped.Err, errTest)
				}
				var panicked *p2p.PanicError
				require.Equal(t, name == "panic", errors.As(stopped.Err, &panicked))
				require.Equal(t, name == "panic", strings.Contains(log.String(), "hook_test.go"), "the stack is logged")
				require.ElementsMatch(t, []p2p.Event{
					p2p.PeerExpiredBy{Peer: lost, Hook: "flaky"},
					p2p.PeerUnavailable{Peer: lost},
					p2p.PeerExpiredBy{Peer: kept, Hook: "flaky"},
					p2p.PeerMetadataModified{Peer: kept},
					p2p.PeerDisconnectedWith{Peer: kept, Listener: "flaky"},
					p2p.ListenerAddrRemoved{Listener: "flaky", Addr: addr("192.0.2.1:1")},
					p2p.ListenerUnregistered{Listener: "flaky"},
					stopped,
				}, events)

				// The node keeps running.
				require.Equal(t, []*p2p.Peer{kept}, node.Peers())
				require.NoError(t, steady.scope.Expired(both))
				require.Equal(t, []p2p.HookInfo{
					{Name: "steady", Ready: true}, {Name: "flaky", Listener: true, Stopped: true, Err: stopped.Err},
				}, node.Hooks())
				require.ErrorIs(t, node.Unregister(t.Context(), flaky), p2p.ErrNotRegistered)
				require.NoError(t, node.Register(t.Context(), flaky))
				require.Equal(t, []p2p.HookInfo{
					{Name: "steady", Ready: true}, {Name: "flaky", Listener: true, Ready: true},
				}, node.Hooks())
			})
		})
	}
}

func TestUnregisterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := start(t, p2p.Config{})
		sub := node.Subscribe()
		goodbye := make(chan struct{})
		id := newID()
		polite := &fakeHook{name: "polite", run: func(ctx context.Context, s *p2p.Scope) error {
			s.Ready()
			<-ctx.Done()
			s.Discovered(id, nil, nil) // the report still counts
			<-goodbye
			return errTest
		}}
		require.NoError(t, node.Register(t.Context(), polite))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := node.Unregister(ctx, polite)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, `hook "polite" has not stopped`)
		require.ErrorIs(t, node.Register(t.Context(), polite), p2p.ErrRegistered)
		require.Len(t, node.Peers(), 1)

		unregistered := make(chan error, 1)
		go func() { unregistered <- node.Unregister(t.Context(), polite) }()
		synctest.Wait()
		require.Empty(t, unregistered)
		close(goodbye)
		require.ErrorIs(t, <-unregistered, errTest)
		require.Empty(t, node.Peers())
		require.Empty(t, node.Hooks())
		for _, e := range drain(sub) {
			_, unasked := e.(p2p.HookStopped)
			require.False(t, unasked)
		}
		sub.Close()
	})
}

func TestScopeAfterTheEnd(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	id, conn := newID(), &fakeConn{}
	require.NoError(t, l.scope.Connected(id, conn))
	require.NoError(t, node.Unregister(t.Context(), l))
	for name, err := range map[string]error{
		"Discovered":   l.scope.Discovered(id, nil, nil),
		"Expired":      l.scope.Expired(id),
		"Connected":    l.scope.Connected(id, conn),
		"Disconnected": l.scope.Disconnected(id, conn),
		"Stated":       l.scope.Stated(id, nil),
		"AddAddr":      l.scope.AddAddr(netip.AddrPort{}),
		"RemoveAddr":   l.scope.RemoveAddr(netip.AddrPort{}),
	} {
		require.ErrorIs(t, err, p2p.ErrStopped, name)
	}
	_, err := l.accept(id).Read(make([]byte, 1))
	require.ErrorIs(t, err, p2p.ErrShuttingDown)

	// A new run has a scope of its own; the old scope stays useless.
	old := l.scope
	require.NoError(t, node.Register(t.Context(), l))
	require.NoError(t, l.scope.Discovered(id, nil, nil))
	require.ErrorIs(t, old.Expired(id), p2p.ErrStopped)
	require.Len(t, node.Peers(), 1)
}

func TestScopeRefuses(t *testing.T) {
	var log logBuffer
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	key := identity.New()
	node := start(t, p2p.Config{Identity: key, Logger: log.logger()}, l)
	require.True(t, node == l.scope.Node())
	require.Equal(t, key.Remote(), l.scope.Identity().Remote())
	require.Equal(t, key.Remote(), node.Identity())
	l.scope.Logger().Info("here")
	require.Contains(t, log.String(), "hook=wire")

	bad := map[string]string{"": "x"}
	require.ErrorIs(t, l.scope.Discovered(node.Identity(), nil, nil), p2p.ErrSelf)
	require.ErrorIs(t, l.scope.Connected(node.Identity(), &fakeConn{}), p2p.ErrSelf)
	require.ErrorIs(t, l.scope.Discovered(identity.RemoteIdentity{}, nil, nil), identity.ErrInvalid)
	require.ErrorIs(t, l.scope.Connected(identity.RemoteIdentity{}, &fakeConn{}), identity.ErrInvalid)
	require.Error(t, l.scope.Discovered(newID(), bad, nil))
	require.NoError(t, l.scope.Expired(newID()))
	require.ErrorIs(t, l.scope.Stated(newID(), nil), p2p.ErrUnavailable)
	require.Empty(t, node.Peers())
	_, err := l.accept(newID()).Read(make([]byte, 1)) // a peer that is not connected
	require.ErrorIs(t, err, p2p.ErrRefused)

	id := newID()
	l.connect(t, id)
	require.Error(t, l.scope.Stated(id, bad))
	require.NoError(t, l.scope.Stated(id, nil))
}

// TestListenerIsThereBeforeItsPeers opens a stream from within the loop that
// yields the first peer, while the listener that discovered the peer is not
// even ready.
func TestListenerIsThereBeforeItsPeers(t *testing.T) {
	node := start(t, p2p.Config{})
	near, far := newFakeStreams()
	connected := make(chan struct{})
	l := &fakeListener{fakeHook: fakeHook{name: "wire", run: func(ctx context.Context, s *p2p.Scope) error {
		if err := s.Discovered(newID(), nil, []p2p.Candidate{direct("192.0.2.1:1")}); err != nil {
			return err
		}
		<-connected
		s.Ready()
		<-ctx.Done()
		return nil
	}}}
	l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		return near, nil
	}
	opened := make(chan *p2p.Stream, 1)
	go func() {
		defer close(connected)
		for peer := range node.Available(t.Context()) {
			s, err := peer.Open(t.Context(), "echo")
			if err != nil {
				t.Error(err)
			}
			opened <- s
			return
		}
	}()
	require.NoError(t, node.Register(t.Context(), l))
	s := <-opened
	require.NotNil(t, s)
	defer s.Close() // the node would wait for streams that are left open
	header := make([]byte, 5)
	_, err := far.Read(header)
	require.NoError(t, err)
	require.Equal(t, "\x04echo", string(header))
	far.Reset(p2p.ErrCanceled)
}

// TestHooksAtOnce lets hooks report concurrently, some of them about the same
// peers, while others read.
func TestHooksAtOnce(t *testing.T) {
	var hooks []*fakeListener
	var all []p2p.Hook
	for _, name := range []string{"a", "b", "c", "d"} {
		l := &fakeListener{fakeHook: fakeHook{name: name}}
		hooks, all = append(hooks, l), append(all, l)
	}
	node := start(t, p2p.Config{}, all...)
	watcher, stuck := follow(node, false), follow(node, false)
	stuck.hold(true)
	done := make(chan struct{})
	var readers, reporters sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					snapshot(node)
				}
			}
		})
	}
	found := make([]map[identity.RemoteIdentity]bool, len(hooks))
	for i, l := range hooks {
		found[i] = map[identity.RemoteIdentity]bool{}
		reporters.Go(func() {
			for n := range 400 {
				id := crowd[(n*7+i*3+n*n*i)%len(crowd)]
				conn := &fakeConn{}
				switch n % 5 {
				case 0, 1:
					l.scope.Discovered(id, sayings[(n+i)%len(sayings)], ways[(n+i)%len(ways)])
					found[i][id] = true
				case 2:
					l.scope.Expired(id)
					delete(found[i], id)
				default:
					l.scope.Connected(id, conn)
					l.scope.Stated(id, sayings[n%len(sayings)])
					l.scope.Disconnected(id, conn)
				}
			}
		})
	}
	reporters.Wait()
	close(done)
	readers.Wait()
	for _, id := range crowd {
		var want []string
		for i, l := range hooks {
			if found[i][id] {
				want = append(want, l.name)
			}
		}
		peer, ok := node.Peer(id)
		require.Equal(t, len(want) > 0, ok)
		if ok {
			require.Equal(t, want, peer.Info().DiscoveredBy)
			require.False(t, peer.Verified() || peer.Connected())
		}
	}
	require.NoError(t, node.Shutdown(t.Context()))
	stuck.hold(false)
	for _, f := range []*follower{watcher, stuck} {
		<-f.done
		require.NoError(t, f.wrong)
	}
	require.Empty(t, watcher.peers)
}
