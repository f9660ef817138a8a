package p2p_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// queueSize is how many events a subscription holds.
const queueSize = 256

func TestSubscriptionBeginsWithResync(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	sub := node.Subscribe()
	defer sub.Close()
	require.NoError(t, l.scope.AddAddr(addr("192.0.2.1:1")))
	require.NoError(t, l.scope.RemoveAddr(addr("192.0.2.1:1")))
	require.Equal(t, []p2p.Event{
		p2p.Resync{},
		p2p.ListenerAddrAdded{Listener: "wire", Addr: addr("192.0.2.1:1")},
		p2p.ListenerAddrRemoved{Listener: "wire", Addr: addr("192.0.2.1:1")},
	}, drain(sub))
}

func TestFullQueue(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	publish := func(n int) {
		for range n / 2 {
			require.NoError(t, l.scope.AddAddr(addr("192.0.2.1:1")))
			require.NoError(t, l.scope.RemoveAddr(addr("192.0.2.1:1")))
		}
	}
	sub, other := node.Subscribe(), node.Subscribe()
	defer sub.Close()
	for range 3 { // it recovers however often this happens
		publish(4 * queueSize) // never blocks
		require.Len(t, sub.C, queueSize)

		var events []p2p.Event
		for left := queueSize - 1; left >= 0; left-- {
			events = append(events, <-sub.C)
			if left > 0 {
				publish(2) // there is room again, but nothing is queued until all events were read
			}
			require.Len(t, sub.C, left)
		}
		require.Equal(t, p2p.Resync{}, events[queueSize-1])
		require.NotContains(t, events[1:queueSize-1], p2p.Resync{})

		publish(2)
		require.Equal(t, []p2p.Event{
			p2p.ListenerAddrAdded{Listener: "wire", Addr: addr("192.0.2.1:1")},
			p2p.ListenerAddrRemoved{Listener: "wire", Addr: addr("192.0.2.1:1")},
		}, drain(sub))
	}
	require.Len(t, other.C, queueSize) // a stuck subscriber disturbs no other
	require.Equal(t, p2p.Resync{}, drain(other)[0])
	other.Close()
}

// TestFullQueueAlmost fills a queue to its last slot but one: nothing is lost.
func TestFullQueueAlmost(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	sub := node.Subscribe()
	defer sub.Close()
	for range (queueSize - 2) / 2 {
		require.NoError(t, l.scope.AddAddr(addr("192.0.2.1:1")))
		require.NoError(t, l.scope.RemoveAddr(addr("192.0.2.1:1")))
	}
	events := drain(sub)
	require.Len(t, events, queueSize-1)
	require.NotContains(t, events[1:], p2p.Resync{})
}

func TestSubscriptionClose(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	sub, other := node.Subscribe(), node.Subscribe()
	require.NoError(t, l.scope.AddAddr(addr("192.0.2.1:1")))
	var closers sync.WaitGroup
	for range 4 {
		closers.Go(sub.Close)
	}
	closers.Wait()
	sub.Close()
	require.NoError(t, l.scope.AddAddr(addr("192.0.2.2:2")))
	require.Len(t, drain(sub), 2) // events published before can still be read
	_, open := <-sub.C
	require.False(t, open)
	require.Len(t, drain(other), 3)

	require.NoError(t, node.Shutdown(t.Context()))
	require.NotEmpty(t, drain(other)) // the listener's end
	_, open = <-other.C
	require.False(t, open)
	other.Close()
	late := node.Subscribe()
	_, open = <-late.C
	require.False(t, open)
	late.Close()
	for range node.Watch(t.Context()) {
		require.Fail(t, "a node that was shut down reports nothing")
	}
}

func TestSubscribersCloseWhileEventsArePublished(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				sub := node.Subscribe()
				<-sub.C
				sub.Close()
			}
		})
	}
	for range 500 {
		require.NoError(t, l.scope.AddAddr(addr("192.0.2.1:1")))
		require.NoError(t, l.scope.RemoveAddr(addr("192.0.2.1:1")))
	}
	all.Wait()
}

func TestWatchBeginsWithTheState(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	broken := &fakeHook{name: "broken", run: func(context.Context, *p2p.Scope) error { return errTest }}
	node := start(t, p2p.Config{}, l)
	require.Error(t, node.Register(t.Context(), broken))
	require.NoError(t, l.scope.AddAddr(addr("192.0.2.1:1")))
	id := newID()
	require.NoError(t, l.scope.Discovered(id, map[string]string{"name": "anna"}, nil))
	l.connect(t, id)
	require.NoError(t, l.scope.Stated(id, map[string]string{"name": "anna"}))
	require.NoError(t, node.UpdateMetadata(func(entries map[string]string) { entries["version"] = "2" }))
	peer, _ := node.Peer(id)

	want := []p2p.Event{
		p2p.MetadataModified{},
		p2p.HookStopped{Hook: "broken", Err: errTest},
		p2p.ListenerRegistered{Listener: "wire"},
		p2p.ListenerAddrAdded{Listener: "wire", Addr: addr("192.0.2.1:1")},
		p2p.PeerAvailable{Peer: peer},
		p2p.PeerDiscoveredBy{Peer: peer, Hook: "wire"},
		p2p.PeerConnectedWith{Peer: peer, Listener: "wire"},
	}
	var got []p2p.Event
	for e := range node.Watch(t.Context()) {
		if got = append(got, e); len(got) == len(want) {
			break
		}
	}
	require.Equal(t, want, got)
}

func TestWatchEndsWithItsContext(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	for range 10 {
		require.NoError(t, l.scope.Discovered(newID(), nil, nil))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	for range node.Watch(ctx) { // nine more peers are still to be reported
		seen++
		cancel()
	}
	require.Equal(t, 1, seen)
	for range node.Available(ctx) {
		require.Fail(t, "the context is done")
	}
}

// TestWatchWhilePeersComeAndGo begins to watch while a peer comes and goes all
// the time.
func TestWatchWhilePeersComeAndGo(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	id := newID()
	for range 100 {
		followers := []*follower{follow(node, false), follow(node, false), follow(node, true)}
		for range 20 {
			require.NoError(t, l.scope.Discovered(id, nil, nil))
			require.NoError(t, l.scope.Expired(id))
		}
		for _, f := range followers {
			f.stop()
			require.NoError(t, f.wrong)
		}
	}
}

func TestSlowWatcherIsToldTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
		flaky := &fakeHook{name: "flaky", end: make(chan func() error)}
		node := start(t, p2p.Config{}, l)
		var told []p2p.Event
		proceed, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for e := range node.Watch(t.Context()) {
				told = append(told, e)
				<-proceed
			}
		}()
		synctest.Wait() // the watcher holds ListenerRegistered
		require.NoError(t, node.UpdateMetadata(func(entries map[string]string) { entries["version"] = "1" }))
		require.NoError(t, node.UpdateMetadata(func(entries map[string]string) { entries["version"] = "2" }))
		for _, err := range []error{nil, errTest} {
			require.NoError(t, node.Register(t.Context(), flaky))
			flaky.end <- func() error { return err }
			synctest.Wait()
		}
		gone, here := newID(), newID()
		require.NoError(t, l.scope.Discovered(gone, nil, nil))
		require.NoError(t, l.scope.Expired(gone))
		require.NoError(t, l.scope.Discovered(here, nil, nil))
		peer, _ := node.Peer(here)
		close(proceed)
		synctest.Wait()
		require.Equal(t, []p2p.Event{
			p2p.ListenerRegistered{Listener: "wire"},
			p2p.MetadataModified{},
			p2p.HookStopped{Hook: "flaky", Err: errTest},
			p2p.PeerAvailable{Peer: peer},
			p2p.PeerDiscoveredBy{Peer: peer, Hook: "wire"},
		}, told)
		require.NoError(t, node.Shutdown(t.Context()))
		<-done
	})
}

func TestAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
		node := start(t, p2p.Config{}, l)
		before, after := newID(), newID()
		require.NoError(t, l.scope.Discovered(before, nil, nil))
		var seen []*p2p.Peer
		done := make(chan struct{})
		go func() {
			defer close(done)
			for peer := range node.Available(t.Context()) {
				seen = append(seen, peer)
			}
		}()
		synctest.Wait()
		require.NoError(t, l.scope.Discovered(after, nil, nil))
		synctest.Wait()
		require.NoError(t, l.scope.Expired(before))
		require.NoError(t, l.scope.Discovered(before, nil, nil))
		synctest.Wait()
		require.Len(t, seen, 3)
		require.Equal(t, before, seen[0].Identity())
		require.Equal(t, after, seen[1].Identity())
		require.Equal(t, before, seen[2].Identity())
		require.False(t, slices.Contains(seen[:2], seen[2])) // a new life has a new Peer
		require.NoError(t, node.Shutdown(t.Context()))
		<-done
	})
}

// TestWatchOrder: the summary of the state always comes in the same order, both
// at the start and after events were missed.
func TestWatchOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hooks []p2p.Hook
		for _, name := range []string{"f", "b", "d", "a", "e", "c"} {
			hooks = append(hooks, &fakeListener{fakeHook: fakeHook{name: name}})
		}
		node := start(t, p2p.Config{}, hooks...)
		var ids []identity.RemoteIdentity
		discover := func(n int) {
			for range n {
				ids = append(ids, newID())
				for _, h := range hooks {
					require.NoError(t, h.(*fakeListener).scope.Discovered(ids[len(ids)-1], nil, nil))
				}
			}
		}
		discover(20)
		var listeners, finders []string
		var came, went []identity.RemoteIdentity
		gate, done := make(chan struct{}, 1), make(chan struct{})
		go func() {
			defer close(done)
			for e := range node.Watch(t.Context()) {
				switch e := e.(type) {
				case p2p.ListenerRegistered:
					listeners = append(listeners, e.Listener)
				case p2p.PeerAvailable:
					came = append(came, e.Of().Identity())
				case p2p.PeerUnavailable:
					went = append(went, e.Of().Identity())
				case p2p.PeerDiscoveredBy:
					if e.Of().Identity() == ids[0] {
						finders = append(finders, e.Hook)
					}
				}
				gate <- struct{}{} // blocks while the test holds the gate
				<-gate
			}
		}()
		synctest.Wait()
		gate <- struct{}{}
		discover(50) // more than the queue holds
		for _, id := range ids[:10] {
			for _, h := range hooks {
				require.NoError(t, h.(*fakeListener).scope.Expired(id))
			}
		}
		<-gate
		synctest.Wait()
		require.Equal(t, []string{"f", "b", "d", "a", "e", "c"}, listeners)
		require.Equal(t, []string{"f", "b", "d", "a", "e", "c"}, finders)
		require.Equal(t, ids, came)
		require.Equal(t, ids[:10], went)
		require.NoError(t, node.Shutdown(t.Context()))
		<-done
	})
}

// TestPeerEvent: one line is enough to check whether an event concerns a peer.
func TestPeerEvent(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	sub := node.Subscribe()
	defer sub.Close()
	drain(sub)
	id := newID()
	conn := l.connect(t, id)
	peer, _ := node.Peer(id)
	require.NoError(t, l.scope.Stated(id, map[string]string{"name": "anna"}))
	require.NoError(t, l.scope.Discovered(id, nil, nil))
	require.NoError(t, l.scope.Disconnected(id, conn))
	require.NoError(t, l.scope.Expired(id))
	events := drain(sub)
	kinds := map[string]bool{}
	for _, e := range events {
		of, ok := e.(p2p.PeerEvent)
		require.True(t, ok, "%T", e)
		require.Same(t, peer, of.Of())
		kinds[changeOf(e).kind] = true
	}
	require.Len(t, kinds, 7)
	require.NoError(t, l.scope.AddAddr(addr("192.0.2.1:1")))
	_, ok := drain(sub)[0].(p2p.PeerEvent)
	require.False(t, ok)
}
