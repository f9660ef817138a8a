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

// presence returns the presence of another device.
func (d *device) presence(t testing.TB, of *device) library.Presence {
	t.Helper()
	for _, p := range d.lib.Members() {
		if p.Member.Instance == of.own() {
			return p
		}
	}
	t.Fatal("no such member")
	return library.Presence{}
}

// TestPresence: a member goes through every state that a presence shows:
// absent, available, serving, connected, and back.
func TestPresence(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.hook()
		a.add(t, b)
		p := a.presence(t, b)
		require.Nil(t, p.Peer)
		require.ErrorIs(t, p.Err, library.ErrNotRunning)
		require.ErrorIs(t, a.echo(t, b), library.ErrNotRunning)

		a = newDevice()
		a.start(t, network, p2p.Config{})
		r := a.add(t, b).record()
		p = a.presence(t, b)
		require.Equal(t, b.id.Remote(), p.Peer.Identity())
		require.Equal(t, []*p2p.Peer{p.Peer}, a.Tracked(), "a member is tracked before any discovery has found it")
		require.False(t, p.Available || p.Connected || p.Serves)
		require.ErrorIs(t, p.Err, p2p.ErrNoCandidate)

		b.start(t, network, p2p.Config{})
		pass(time.Second)
		p = a.presence(t, b)
		require.True(t, p.Available && !p.Serves)
		require.NotErrorIs(t, p.Err, p2p.ErrNoCandidate)

		b.load(t, r)
		pass(0)
		require.True(t, a.presence(t, b).Serves)

		require.NoError(t, a.echo(t, b))
		p = a.presence(t, b)
		require.True(t, p.Connected && p.Serves)
		require.True(t, b.presence(t, a).Connected)

		require.NoError(t, b.libraries.Remove(r.ID))
		pass(time.Second)
		require.True(t, a.presence(t, b).Connected)
		require.False(t, a.presence(t, b).Serves)
		require.Error(t, a.echo(t, b))
		require.ErrorIs(t, a.presence(t, b).Err, tunnel.ErrHandshake, "the reason why the last Open failed")

		b.stop(t)
		pass(time.Second)
		p = a.presence(t, b)
		require.False(t, p.Available || p.Connected || p.Serves)
		require.ErrorIs(t, p.Err, p2p.ErrNoCandidate)
	})
}

// TestClaims: a node's claim counts only if the record names that node, and
// only for this instance. UUIDs match in any case.
func TestClaims(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		id := uuid.MustParse("abcdefab-0123-4567-89ab-abcdefabcdef")
		a.start(t, network, p2p.Config{})
		c := newCharterOf(t, a, id, library.NewSecret())
		c.join(b, library.RoleMember)
		a.load(t, c.record())
		mallory := network.Start(t, p2p.Config{Metadata: map[string]string{id.String(): b.own().String()}})
		pass(time.Second)
		require.Contains(t, a.Peers(), must(a.Peer(mallory.Identity())))
		require.False(t, a.presence(t, b).Available)
		require.False(t, a.presence(t, b).Serves)

		b.start(t, network, p2p.Config{Metadata: map[string]string{id.String(): identity.New().Remote().String()}})
		pass(time.Second)
		require.True(t, a.presence(t, b).Available)
		require.False(t, a.presence(t, b).Serves, "the node claims another instance")
		for _, key := range []string{id.String(), "ABCDEFAB-0123-4567-89AB-ABCDEFABCDEF", "abcdefab-0123-4567-89AB-ABCDEFABCDEF"} {
			require.NoError(t, b.UpdateMetadata(func(m map[string]string) {
				clear(m)
				m[key] = b.own().String()
			}))
			pass(time.Second)
			require.True(t, a.presence(t, b).Serves, key)
		}
		require.NoError(t, b.UpdateMetadata(func(m map[string]string) {
			clear(m)
			m["abcdefab-0123-4567-89ab-abcdefabcdee"] = b.own().String()
		}))
		pass(time.Second)
		require.False(t, a.presence(t, b).Serves, "the node claims another library")
	})
}

func must[T any](v T, _ bool) T { return v }

// TestSharedPeer: a node that several libraries share is one peer. It is
// tracked as long as one of them lists it.
func TestSharedPeer(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		b.start(t, network, p2p.Config{})
		var made []library.Record
		for range 2 {
			made = append(made, a.add(t, b).record())
			b.load(t, made[len(made)-1])
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
		require.Equal(t, 2, a.libraries.Speaks(b.id.Remote()), "only nodes of version 2 can be members")
		require.Zero(t, a.libraries.Speaks(identity.New().Remote()))

		require.NoError(t, a.libraries.Remove(made[0].ID))
		require.Equal(t, peers[:1], a.Tracked())
		require.NoError(t, a.lib.Block(b.own()))
		require.Empty(t, a.Tracked())
		require.NoError(t, a.lib.Unblock(b.own()))
		require.Len(t, a.Tracked(), 1)
		require.NoError(t, a.remove(b))
		require.Empty(t, a.Tracked())
		require.Zero(t, a.libraries.Speaks(b.id.Remote()))
		require.NoError(t, a.libraries.Remove(made[1].ID))
	})
}

// A watcher records the changes that Watch yields.
type watcher struct {
	seen  []library.Change
	state map[identity.RemoteIdentity]library.Presence
	ended bool
}

// watch starts a watcher, which takes the time slow for each change.
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

// TestWatch: Watch yields the present state, and then each change once,
// including removals of members.
func TestWatch(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		r := a.add(t, b, c).record()
		w := watch(t.Context(), a, 0)
		pass(time.Second)
		require.Len(t, w.seen, 2, "the present state")
		for i, p := range a.lib.Members() {
			require.Equal(t, p.Member, w.seen[i].Presence.Member)
			require.Same(t, a.lib, w.seen[i].Library)
			require.False(t, w.seen[i].Removed || w.seen[i].Presence.Available)
		}
		step := func(of *device, want func(library.Presence) bool) {
			t.Helper()
			pass(5 * time.Second)
			require.True(t, want(w.state[of.own()]))
		}
		b.start(t, network, p2p.Config{})
		step(b, func(p library.Presence) bool { return p.Available && !p.Serves })
		b.load(t, r)
		step(b, func(p library.Presence) bool { return p.Serves && p.Connected })
		network.Link(a.id.Remote(), b.id.Remote()).Cut()
		step(b, func(p library.Presence) bool { return !p.Available && !p.Connected && !p.Serves && p.Err != nil })
		network.Link(a.id.Remote(), b.id.Remote()).Restore()
		step(b, func(p library.Presence) bool { return p.Serves })
		require.NoError(t, b.echo(t, a))
		require.NoError(t, a.echo(t, b))
		step(b, func(p library.Presence) bool { return p.Connected && p.Err == nil })
		before := len(w.seen)
		require.NoError(t, b.UpdateMetadata(func(m map[string]string) { m["x"] = "y" }))
		network.Start(t, p2p.Config{})
		pass(time.Second)
		require.Len(t, w.seen, before, "none of these changes is about presence")

		require.NoError(t, a.lib.Promote(b.own(), library.RecoveryKey{}))
		step(b, func(p library.Presence) bool { return p.Member.Role == library.RoleAdmin })
		last, _ := a.lib.Roster().Member(c.own())
		require.NoError(t, a.remove(c))
		pass(time.Second)
		gone := w.seen[len(w.seen)-1]
		for i := len(w.seen) - 1; !gone.Removed; i-- {
			gone = w.seen[i]
		}
		require.Equal(t, last, gone.Presence.Member)
		require.NotContains(t, w.state, c.own())
	})
}

// TestWatchEnds: a watcher is told when a library is removed or added, and ends
// with its context.
func TestWatchEnds(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, _ := pair(t, network)
		ctx, cancel := context.WithCancel(t.Context())
		w := watch(ctx, a, 0)
		late := watch(t.Context(), a, 0)
		pass(time.Second)
		require.Len(t, late.seen, 1)
		r := a.lib.Record()
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
		a.load(t, r)
		pass(time.Second)
		require.Len(t, w.seen, steps)
		require.Len(t, late.state, 1)
	})
}

// TestWatchOrder: Watch yields libraries in the order of All, and members in
// the order of Members, the longest-standing first. This also holds for several
// that are added, or removed, at one time.
func TestWatchOrder(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		devices := newDevices(8)
		for range 3 {
			c := newCharter(t, a)
			for i, d := range devices {
				if i == 4 {
					c.join(b, library.RoleAdmin)
				}
				time.Sleep(time.Second)
				c.joinBy(c.founder, d, library.RoleMember)
			}
			time.Sleep(time.Second)
			c.expel(a, b)
			a.load(t, c.record())
		}
		var libraries []*library.Library
		var all []identity.RemoteIdentity
		for _, l := range a.libraries.All() {
			libraries = append(libraries, slices.Repeat([]*library.Library{l}, len(devices))...)
			all = append(all, ids(devices...)...)
		}
		w := watch(t.Context(), a, time.Second)
		pass(500 * time.Millisecond)
		told := func(removed bool) {
			t.Helper()
			pass(time.Duration(len(all)-1) * time.Second) // the watcher is slow
			require.Len(t, w.seen, len(all))
			for i, c := range w.seen {
				require.Equal(t, all[i], c.Presence.Member.Instance, i)
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

// TestWatchSlow: a slow consumer misses intermediate states, but not the latest
// one. A loop that breaks ends the iterator.
func TestWatchSlow(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		link := network.Link(a.id.Remote(), b.id.Remote())
		link.Cut()
		pass(time.Second)
		w := watch(t.Context(), a, time.Hour)
		for range 100 {
			pass(time.Second)
			link.Restore()
			pass(time.Second)
			link.Cut()
		}
		link.Restore()
		require.NoError(t, a.echo(t, b))
		pass(3 * time.Hour)
		require.Len(t, w.seen, 2)
		require.True(t, w.state[b.own()] == a.presence(t, b))
		require.True(t, w.state[b.own()].Connected)

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

// TestManualAddress: a member that no discovery has found can be reached at an
// address that the user gives.
func TestManualAddress(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		for _, d := range []*device{a, b} {
			var err error
			d.P2P, err = p2p.Start(t.Context(), p2p.Config{App: "test", Identity: d.id, Handler: d.hook(), Hooks: []p2p.Hook{
				network.Listener(p2ptest.ListenerConfig{}), d.libraries,
			}})
			require.NoError(t, err)
			defer d.stop(t)
		}
		b.load(t, a.add(t, b).record())
		w := watch(t.Context(), a, 0)
		require.ErrorIs(t, a.presence(t, b).Err, p2p.ErrNoCandidate)
		require.NoError(t, a.Register(t.Context(), &book{name: "no way", found: b.id.Remote()}))
		pass(time.Second)
		require.True(t, w.state[b.own()].Available)
		require.ErrorIs(t, w.state[b.own()].Err, p2p.ErrNoCandidate)
		manual := &book{found: b.id.Remote(), via: []p2p.Candidate{{Kind: p2p.Manual, Addr: b.Listeners()[0].Addrs[0]}}}
		require.NoError(t, a.Register(t.Context(), manual))
		pass(time.Second)
		require.NoError(t, w.state[b.own()].Err)
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
