package library_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// presence returns how things stand with another device.
func (d *device) presence(t testing.TB, of *device) library.Presence {
	t.Helper()
	for _, p := range d.lib.Members() {
		if p.Member.Instance == of.instance.Remote() {
			return p
		}
	}
	t.Fatal("no such member")
	return library.Presence{}
}

// A member goes through all that a presence tells: not there, there, serving, connected, and back.
func TestPresence(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		r := library.Record{ID: uuid.New()}
		a.hook()
		a.add(t, r, b)
		p := a.presence(t, b)
		require.Nil(t, p.Peer)
		require.ErrorIs(t, p.Err, library.ErrNotRunning)
		require.ErrorIs(t, a.echo(t, b), library.ErrNotRunning)

		a = newDevice()
		a.start(t, network, p2p.Config{})
		a.add(t, r, b)
		p = a.presence(t, b)
		require.Equal(t, b.id.Remote(), p.Peer.Identity())
		require.Equal(t, []*p2p.Peer{p.Peer}, a.Tracked(), "no discovery has found it")
		require.False(t, p.Available || p.Connected || p.Serves)
		require.ErrorIs(t, p.Err, p2p.ErrNoCandidate)

		b.start(t, network, p2p.Config{})
		pass(time.Second)
		p = a.presence(t, b)
		require.True(t, p.Available && !p.Connected && !p.Serves)
		require.NoError(t, p.Err)

		b.add(t, r, a)
		pass(time.Second)
		require.True(t, a.presence(t, b).Serves)
		require.False(t, a.presence(t, b).Connected)

		require.NoError(t, a.echo(t, b))
		p = a.presence(t, b)
		require.True(t, p.Connected && p.Serves)
		require.True(t, b.presence(t, a).Connected)

		require.NoError(t, b.libraries.Remove(r.ID))
		pass(time.Second)
		require.True(t, a.presence(t, b).Connected)
		require.False(t, a.presence(t, b).Serves)
		require.Error(t, a.echo(t, b))
		require.ErrorIs(t, a.presence(t, b).Err, tunnel.ErrHandshake, "why the last Open failed")

		b.stop(t)
		pass(time.Second)
		p = a.presence(t, b)
		require.False(t, p.Available || p.Connected || p.Serves)
		require.ErrorIs(t, p.Err, p2p.ErrNoCandidate)
	})
}

// What a node says of itself counts only where the record names that node, and this instance. Case does not matter in a UUID.
func TestClaims(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		id := uuid.MustParse("abcdefab-0123-4567-89ab-abcdefabcdef")
		a.start(t, network, p2p.Config{})
		a.add(t, library.Record{ID: id}, b)
		mallory := network.Start(t, p2p.Config{Metadata: map[string]string{id.String(): b.instance.Remote().String()}})
		pass(time.Second)
		require.Contains(t, a.Peers(), must(a.Peer(mallory.Identity())))
		require.False(t, a.presence(t, b).Available)
		require.False(t, a.presence(t, b).Serves)

		b.start(t, network, p2p.Config{Metadata: map[string]string{id.String(): identity.New().Remote().String()}})
		pass(time.Second)
		require.True(t, a.presence(t, b).Available)
		require.False(t, a.presence(t, b).Serves, "another instance")
		for _, key := range []string{id.String(), "ABCDEFAB-0123-4567-89AB-ABCDEFABCDEF", "abcdefab-0123-4567-89AB-ABCDEFABCDEF"} {
			require.NoError(t, b.UpdateMetadata(func(m map[string]string) {
				clear(m)
				m[key] = b.instance.Remote().String()
			}))
			pass(time.Second)
			require.True(t, a.presence(t, b).Serves, key)
		}
		require.NoError(t, b.UpdateMetadata(func(m map[string]string) {
			clear(m)
			m["abcdefab-0123-4567-89ab-abcdefabcdee"] = b.instance.Remote().String()
		}))
		pass(time.Second)
		require.False(t, a.presence(t, b).Serves, "another library")
	})
}

func must[T any](v T, _ bool) T { return v }

// A node that several libraries share is one peer. It is tracked as long as one of them names it.
func TestSharedPeer(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		b.start(t, network, p2p.Config{})
		first, second := library.Record{ID: uuid.New()}, library.Record{ID: uuid.New()}
		for _, r := range []library.Record{first, second} {
			a.add(t, r, b)
			b.add(t, r, a)
		}
		pass(time.Second)
		var peers []*p2p.Peer
		for _, l := range a.libraries.All() {
			p := l.Members()
			require.Len(t, p, 1)
			require.True(t, p[0].Serves)
			peers = append(peers, p[0].Peer)
		}
		require.Same(t, peers[0], peers[1])
		require.Same(t, peers[0], must(a.Peer(b.id.Remote())))
		require.Equal(t, peers[:1], a.Tracked())

		require.NoError(t, a.libraries.Remove(first.ID))
		require.Equal(t, peers[:1], a.Tracked())
		require.NoError(t, a.lib.RemoveMember(b.instance.Remote()))
		require.Empty(t, a.Tracked())
		require.NoError(t, a.lib.AddMember(b.member()))
		require.Len(t, a.Tracked(), 1)
		require.NoError(t, a.libraries.Remove(second.ID))
		require.Empty(t, a.Tracked())
	})
}

// A watcher writes down what it is told.
type watcher struct {
	seen  []library.Change
	state map[identity.RemoteIdentity]library.Presence
	ended bool
}

// watch follows a device, and takes each step in its own time.
func watch(ctx context.Context, d *device, slow time.Duration) *watcher {
	w := &watcher{state: map[identity.RemoteIdentity]library.Presence{}}
	go func() {
		for c := range d.libraries.Watch(ctx) {
			w.seen = append(w.seen, c)
			if c.Removed {
				delete(w.state, c.Presence.Member.Instance)
			} else {
				w.state[c.Presence.Member.Instance] = c.Presence
			}
			if slow > 0 {
				time.Sleep(slow)
			}
		}
		w.ended = true
	}()
	return w
}

// Watch tells what there is, then each change once, removed members and libraries, and ends with its context.
func TestWatch(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		r := library.Record{ID: uuid.New()}
		a.start(t, network, p2p.Config{})
		a.add(t, r, b, c)
		ctx, cancel := context.WithCancel(t.Context())
		w := watch(ctx, a, 0)
		pass(time.Second)
		require.Len(t, w.seen, 2, "what there is")
		for i, d := range []*device{b, c} {
			require.Equal(t, d.member(), w.seen[i].Presence.Member)
			require.Same(t, a.lib, w.seen[i].Library)
			require.False(t, w.seen[i].Removed || w.seen[i].Presence.Available)
		}
		step := func(of *device, want func(library.Presence) bool) {
			t.Helper()
			pass(time.Second)
			require.True(t, want(w.state[of.instance.Remote()]))
		}
		b.start(t, network, p2p.Config{})
		step(b, func(p library.Presence) bool { return p.Available && !p.Serves && p.Err == nil })
		b.add(t, r, a)
		step(b, func(p library.Presence) bool { return p.Serves && !p.Connected })
		network.Link(a.id.Remote(), b.id.Remote()).Cut()
		step(b, func(p library.Presence) bool { return !p.Available })
		network.Link(a.id.Remote(), b.id.Remote()).Restore()
		step(b, func(p library.Presence) bool { return p.Serves })
		require.NoError(t, b.echo(t, a))
		step(b, func(p library.Presence) bool { return p.Connected })
		require.Len(t, w.seen, 7, "one for each, and none for c")
		require.NoError(t, b.UpdateMetadata(func(m map[string]string) { m["x"] = "y" }))
		network.Start(t, p2p.Config{})
		pass(time.Second)
		require.Len(t, w.seen, 7, "nothing of that is about presence")

		renamed := b.member()
		renamed.Name = "Bob's"
		require.NoError(t, a.lib.AddMember(renamed))
		step(b, func(p library.Presence) bool { return p.Member.Name == "Bob's" })
		network.Link(a.id.Remote(), b.id.Remote()).Cut()
		step(b, func(p library.Presence) bool { return !p.Available && !p.Connected && !p.Serves && p.Err != nil })
		network.Link(a.id.Remote(), b.id.Remote()).Restore()
		step(b, func(p library.Presence) bool { return p.Serves && p.Err == nil })

		require.NoError(t, a.lib.RemoveMember(c.instance.Remote()))
		pass(time.Second)
		last := w.seen[len(w.seen)-1]
		require.True(t, last.Removed)
		require.Equal(t, c.member(), last.Presence.Member)
		require.NotContains(t, w.state, c.instance.Remote())

		late := watch(t.Context(), a, 0)
		pass(time.Second)
		require.Len(t, late.seen, 1)
		require.NoError(t, a.libraries.Remove(r.ID))
		pass(time.Second)
		require.Empty(t, w.state)
		require.Empty(t, late.state)
		require.False(t, w.ended)
		cancel()
		pass(0)
		require.True(t, w.ended)
		require.False(t, late.ended)
		steps := len(w.seen)
		a.add(t, r, b)
		pass(time.Second)
		require.Len(t, w.seen, steps)
		require.Len(t, late.state, 1)
	})
}

// Watch yields libraries in the order of All and members in that of their
// records, also those that become new at one time, and those that go.
func TestWatchOrder(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice()
		a.start(t, network, p2p.Config{})
		var devices []*device
		for range 8 {
			devices = append(devices, newDevice())
		}
		for range 3 {
			a.add(t, library.Record{ID: uuid.New()}, devices...)
		}
		var libraries []*library.Library
		var all []library.Member
		for _, l := range a.libraries.All() {
			libraries = append(libraries, slices.Repeat([]*library.Library{l}, len(devices))...)
			all = append(all, l.Record().Members...)
		}
		require.Equal(t, members(devices...), all[:len(devices)])
		w := watch(t.Context(), a, time.Second)
		pass(500 * time.Millisecond)
		told := func(removed bool) {
			t.Helper()
			pass(time.Duration(len(all)-1) * time.Second) // it takes its time for the last one
			require.Len(t, w.seen, len(all))
			for i, c := range w.seen {
				require.Equal(t, all[i], c.Presence.Member, i)
				require.Same(t, libraries[i], c.Library, i)
				require.Equal(t, removed, c.Removed, i)
			}
			w.seen = nil
		}
		told(false)
		require.NoError(t, a.Unregister(t.Context(), a.libraries))
		pass(time.Second)
		told(false)
		for _, l := range a.libraries.All() {
			require.NoError(t, a.libraries.Remove(l.ID()))
		}
		pass(time.Second)
		told(true)
		pass(time.Second)
	})
}

// Whoever takes long for a step misses others, and not the last one. Whoever breaks off hears no more.
func TestWatchSlow(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		w := watch(t.Context(), a, time.Hour)
		link := network.Link(a.id.Remote(), b.id.Remote())
		for range 100 {
			link.Cut()
			pass(time.Second)
			link.Restore()
			pass(time.Second)
		}
		require.NoError(t, a.echo(t, b))
		pass(3 * time.Hour)
		require.Len(t, w.seen, 2)
		require.True(t, w.state[b.instance.Remote()] == a.presence(t, b))
		require.True(t, w.state[b.instance.Remote()].Connected)

		broken := make(chan bool)
		go func() {
			defer close(broken)
			for range a.libraries.Watch(t.Context()) {
				break
			}
		}()
		<-broken
	})
}

// A member's node is ready for an address that the user gives.
func TestManualAddress(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		r := library.Record{ID: uuid.New()}
		for _, d := range []*device{a, b} {
			var err error
			d.P2P, err = p2p.Start(t.Context(), p2p.Config{App: "test", Identity: d.id, Handler: d.hook(), Hooks: []p2p.Hook{
				network.Listener(p2ptest.ListenerConfig{}), d.libraries,
			}})
			require.NoError(t, err)
			defer d.stop(t)
		}
		a.add(t, r, b)
		b.add(t, r, a)
		w := watch(t.Context(), a, 0)
		require.ErrorIs(t, a.presence(t, b).Err, p2p.ErrNoCandidate)
		require.NoError(t, a.Register(t.Context(), &book{name: "no way", found: b.id.Remote()}))
		pass(time.Second)
		require.True(t, w.state[b.instance.Remote()].Available)
		require.ErrorIs(t, w.state[b.instance.Remote()].Err, p2p.ErrNoCandidate)
		manual := &book{found: b.id.Remote(), via: []p2p.Candidate{{Kind: p2p.Manual, Addr: b.Listeners()[0].Addrs[0]}}}
		require.NoError(t, a.Register(t.Context(), manual))
		pass(time.Second)
		require.NoError(t, w.state[b.instance.Remote()].Err)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, b.echo(t, a))
	})
}

// A book is a discovery that knows one peer.
type book struct {
	name  string
	found identity.RemoteIdentity
	via   []p2p.Candidate
}

func (b *book) Name() string { return "book " + b.name + b.found.String() }

func (b *book) Run(ctx context.Context, s *p2p.Scope) error {
	if err := s.Discovered(b.found, nil, b.via); err != nil {
		return err
	}
	s.Ready()
	<-ctx.Done()
	return nil
}
