package library_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// The tests of this file are of bugs that were found once.

// Who was off while the secret changed twice, within the 7 days, gets in and learns the last one.
func TestRotateTwice(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		r := library.Record{ID: uuid.New(), Secret: library.NewSecret()}
		running(t, network, r, a, b, c)
		c.stop(t)
		pass(time.Minute)
		require.NoError(t, a.lib.Rotate())
		pass(time.Hour)
		require.NoError(t, a.lib.Rotate())
		pass(time.Hour)
		require.Equal(t, a.lib.Record().Secret, b.lib.Record().Secret)

		c.start(t, network, p2p.Config{})
		c.add(t, r, a, b)
		pass(10 * time.Minute)
		require.Equal(t, a.lib.Record().Secret, c.lib.Record().Secret)
	})
}

// Two new secrets in a minute, as after two removals, reach who is there.
func TestRotateQuickly(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		for range 3 {
			require.NoError(t, a.lib.Rotate())
			pass(time.Second)
		}
		pass(10 * time.Minute)
		sameSecret(t, a, b)
		require.NoError(t, a.echo(t, b))
	})
}

// Who was off while two others changed the secret gets in at the one whose secret was dropped.
func TestRotateConcurrently(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		r := library.Record{ID: uuid.New(), Secret: library.NewSecret()}
		running(t, network, r, a, b, c)
		c.stop(t)
		link := network.Link(a.Identity(), b.Identity())
		link.Cut()
		require.NoError(t, a.lib.Rotate())
		require.NoError(t, b.lib.Rotate())
		mine := a.lib.Record().Secret
		pass(time.Hour)
		link.Restore()
		pass(time.Hour)
		require.Equal(t, a.lib.Record().Secret, b.lib.Record().Secret)
		dropped, winner := a, b
		if a.lib.Record().Secret == mine {
			dropped, winner = b, a
		}
		winner.stop(t)
		c.start(t, network, p2p.Config{})
		c.add(t, r, a, b)
		pass(10 * time.Minute)
		require.NoError(t, c.echo(t, dropped))
	})
}

// No member can keep the others from getting rid of a secret that it knows: after its removal they rotate.
func TestNumbersLast(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, mallory := newDevice(), newDevice(), newDevice()
		running(t, network, library.Record{ID: uuid.New(), Secret: library.NewSecret()}, a, b, mallory)
		known := library.NewSecret()
		mallory.push(t, a, saying(math.MaxUint64, known))
		pass(5 * time.Minute)
		require.NoError(t, a.lib.RemoveMember(mallory.instance.Remote()))
		require.NoError(t, b.lib.RemoveMember(mallory.instance.Remote()))
		err := a.lib.Rotate()
		pass(5 * time.Minute)
		require.NoError(t, err)
		require.NotEqual(t, known, a.lib.Record().Secret)
		require.NotEqual(t, known, b.lib.Record().Secret)
		require.Equal(t, a.lib.Record().Secret, b.lib.Record().Secret)
	})
}

// A handler that panics leaves no tunnel behind.
func TestPanicLeavesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		conns := make(chan *tunnel.Conn, 1)
		b.lib.Handle("panic", func(_ context.Context, c *tunnel.Conn) error {
			conns <- c
			panic("oh")
		})
		c, err := a.lib.Open(t.Context(), b.instance.Remote(), "panic")
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrHandlerFailed)
		far := <-conns
		pass(time.Minute)
		select {
		case <-far.Done():
		default:
			t.Error("the tunnel is not over: its timer keeps it for 24 h")
			far.Abort(errors.New("end"))
		}
	})
}

// A watcher is told that the last Open has not failed.
func TestWatchSuccess(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		require.NoError(t, a.echo(t, b)) // they stay connected
		var last library.Change
		go func() {
			for c := range a.libraries.Watch(t.Context()) {
				last = c
			}
		}()
		require.NoError(t, b.lib.RemoveMember(a.instance.Remote()))
		require.Error(t, a.echo(t, b))
		pass(time.Second)
		require.Error(t, last.Presence.Err)
		require.NoError(t, b.lib.AddMember(a.member()))
		require.NoError(t, a.echo(t, b))
		pass(time.Second)
		require.NoError(t, a.lib.Members()[0].Err)
		require.NoError(t, last.Presence.Err)
	})
}

// A watcher is told that the hook has stopped.
func TestWatchUnregister(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, _ := pair(t, network)
		var last library.Change
		go func() {
			for c := range a.libraries.Watch(t.Context()) {
				last = c
			}
		}()
		pass(time.Second)
		require.True(t, last.Presence.Available)
		require.NoError(t, a.Unregister(t.Context(), a.libraries))
		pass(time.Second)
		require.ErrorIs(t, a.lib.Members()[0].Err, library.ErrNotRunning)
		require.ErrorIs(t, last.Presence.Err, library.ErrNotRunning)
		require.NoError(t, a.Register(t.Context(), a.libraries))
		pass(time.Second)
		require.True(t, last.Presence.Available)
	})
}

// A watcher is told why a member cannot be reached when that changes.
func TestWatchReason(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		mux := a.hook()
		var err error
		a.P2P, err = p2p.Start(t.Context(), p2p.Config{App: "test", Identity: a.id, Handler: mux, Hooks: []p2p.Hook{a.libraries}})
		require.NoError(t, err)
		defer a.stop(t)
		a.add(t, library.Record{ID: uuid.New()}, b)
		var last library.Change
		go func() {
			for c := range a.libraries.Watch(t.Context()) {
				last = c
			}
		}()
		pass(time.Second)
		require.ErrorIs(t, last.Presence.Err, p2p.ErrNoListener)
		require.NoError(t, a.Register(t.Context(), network.Listener(p2ptest.ListenerConfig{})))
		pass(time.Second)
		require.ErrorIs(t, a.lib.Members()[0].Err, p2p.ErrNoCandidate)
		require.ErrorIs(t, last.Presence.Err, p2p.ErrNoCandidate)
		a.Revoke(b.id.Remote())
		pass(time.Second)
		require.ErrorIs(t, a.lib.Members()[0].Err, p2p.ErrRevoked)
		require.ErrorIs(t, last.Presence.Err, p2p.ErrRevoked)
	})
}

// What failed when the member could not be reached yet, or was another one, is no news of the member as it is now.
func TestStaleFailure(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		require.NoError(t, a.Unregister(t.Context(), a.libraries))
		require.ErrorIs(t, a.echo(t, b), library.ErrNotRunning)
		require.NoError(t, a.Register(t.Context(), a.libraries))
		pass(time.Second)
		require.NotErrorIs(t, a.lib.Members()[0].Err, library.ErrNotRunning)

		require.NoError(t, b.lib.RemoveMember(a.instance.Remote()))
		require.Error(t, a.echo(t, b))
		require.Error(t, a.lib.Members()[0].Err)
		require.NoError(t, a.lib.RemoveMember(b.instance.Remote()))
		require.NoError(t, a.lib.AddMember(b.member()))
		require.NoError(t, a.lib.Members()[0].Err)
	})
}

// An exchange that failed is tried again after a minute.
func TestExchangeAgain(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, off := newDevice(), newDevice(), newDevice()
		r := library.Record{ID: uuid.New(), Secret: library.NewSecret()}
		a.start(t, network, p2p.Config{})
		b.start(t, network, p2p.Config{})
		a.add(t, r, b)
		b.add(t, r, a, off)
		for range 61 {
			_, err := b.libraries.Add(library.Record{ID: uuid.New()}, b.instance)
			require.NoError(t, err)
		}
		full := library.Record{ID: uuid.New(), Secret: library.NewSecret(), Members: members(off), Former: []library.Former{
			{Secret: library.NewSecret(), Until: time.Now().Add(time.Hour), Members: []identity.RemoteIdentity{off.instance.Remote()}},
		}}
		more, err := b.libraries.Add(full, b.instance)
		require.NoError(t, err)
		pass(time.Second)
		touch(t, a.open(t, b)) // they stay connected
		require.NoError(t, a.lib.Rotate())
		pass(time.Second)
		require.NotEqual(t, a.lib.Record().Secret, b.lib.Record().Secret, "b has no room for another secret")
		pass(30 * time.Second)
		full.Former = nil
		require.NoError(t, more.Update(full))
		pass(time.Minute)
		require.Equal(t, a.lib.Record().Secret, b.lib.Record().Secret)
	})
}

// A former secret that is accepted no longer is kept no longer, nor are its members that were removed.
func TestFormerGoes(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		a.add(t, library.Record{ID: uuid.New()}, b)
		require.NoError(t, a.lib.Rotate())
		require.NoError(t, a.lib.RemoveMember(b.instance.Remote()))
		if f := a.lib.Record().Former; f != nil {
			t.Errorf("it waits for %v, which was removed", f[0].Members)
		}
		require.NoError(t, a.lib.AddMember(b.member()))
		require.NoError(t, a.lib.Rotate())
		pass(8 * 24 * time.Hour)
		if f := a.lib.Record().Former; f != nil {
			t.Errorf("it is over since %v", f[0].Until)
		}
		require.NoError(t, a.lib.Rotate())
		r := a.lib.Record()
		a.stop(t)
		pass(6 * day)
		a.start(t, network, p2p.Config{})
		a.load(t, r)
		require.NotNil(t, a.lib.Record().Former)
		pass(day)
		require.Nil(t, a.lib.Record().Former, "also what was loaded")
	})
}

// A library that is being added, or that cannot be added, is seen by nobody.
func TestAddRaces(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) { // in which no tunnel is late
		a, b := newDevice(), newDevice()
		a.cfg.Limits = plenty
		r := library.Record{ID: uuid.New()}
		for _, d := range []*device{a, b} {
			d.start(t, network, p2p.Config{})
		}
		a.add(t, r, b)
		b.add(t, r, a)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		var echoes, adds sync.WaitGroup
		for range 4 {
			echoes.Go(func() {
				for range 10 {
					if err := b.echo(t, a); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 2 {
			adds.Go(func() {
				for ctx.Err() == nil {
					bad := library.Record{ID: uuid.New(), Members: []library.Member{{}}}
					_, err := a.libraries.Add(bad, identity.New())
					if !errors.Is(err, library.ErrInvalid) {
						t.Error(err)
					}
					good := library.Record{ID: uuid.New()}
					_, err = a.libraries.Add(good, identity.New())
					if err != nil {
						t.Error(err)
					}
					a.libraries.Remove(good.ID)
				}
			})
		}
		echoes.Wait()
		cancel()
		adds.Wait()
		require.Len(t, p2p.Libraries(a.Metadata()), 1)
	})
}

// A record prints no secret, the former one included: fmt looks through pointers where a verb does not fit.
func TestFormerPrints(t *testing.T) {
	s := library.NewSecret()
	r := library.Record{ID: uuid.New(), Former: []library.Former{{Secret: s}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%c"} {
		if strings.Contains(fmt.Sprintf(verb, r), strings.Trim(fmt.Sprint(s[:4:4]), "[]")) {
			t.Errorf("%s prints the secret", verb)
		}
	}
}

// At shutdown, handlers of tunnels can still say something, as those of streams can: reads fail, writes work.
func TestShutdownLastWords(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		b.lib.Handle("wait", func(ctx context.Context, c *tunnel.Conn) error {
			<-ctx.Done()
			_, err := io.WriteString(c, "bye")
			return err
		})
		c, err := a.lib.Open(t.Context(), b.instance.Remote(), "wait")
		require.NoError(t, err)
		pass(time.Second)
		go b.stop(t)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "bye", string(got))
		c.Close()
	})
}

// A gate that agrees is never taken for one that does not answer.
func TestGateAgrees(t *testing.T) {
	node, err := p2p.New(p2p.Config{App: "test", Allow: func(context.Context, p2p.Request) error { return nil }})
	require.NoError(t, err)
	var all sync.WaitGroup
	defer all.Wait()
	for range 8 {
		all.Go(func() {
			for range 5000 {
				if err := node.Allows(t.Context(), p2p.Request{Action: p2p.OpenTunnel}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
}

// That no way to a member was known is no news of it once there is one.
func TestNoCandidateGoes(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		a.add(t, library.Record{ID: uuid.New()}, b)
		require.ErrorIs(t, a.echo(t, b), p2p.ErrNoCandidate)
		b.start(t, network, p2p.Config{})
		pass(time.Second)
		require.True(t, a.presence(t, b).Available)
		require.NoError(t, a.presence(t, b).Err)
	})
}

// An Update with a record that was read before another secret of the same number came in does not roll that back.
func TestStaleUpdate(t *testing.T) {
	for range 10 { // whichever secret is the greater one
		bubble(t, func(t *testing.T, network *p2ptest.Network) {
			a, b := pair(t, network)
			link := network.Link(a.Identity(), b.Identity())
			link.Cut()
			require.NoError(t, a.lib.Rotate())
			require.NoError(t, b.lib.Rotate())
			stale := []library.Record{a.lib.Record(), b.lib.Record()}
			link.Restore()
			pass(5 * time.Minute)
			for i, d := range []*device{a, b} {
				stale[i].Name = "x"
				require.NoError(t, d.lib.Update(stale[i]))
				require.Equal(t, "x", d.lib.Record().Name)
			}
			pass(5 * time.Minute)
			require.NoError(t, a.echo(t, b))
			require.NoError(t, b.echo(t, a))
		})
	}
}

// A new secret is not used before the app has kept it: whoever crashes in between is let in with the one that it has.
func TestKeptBeforeUse(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		keeping := make(chan struct{})
		b.cfg.Changed = func(library.Record) { <-keeping }
		require.NoError(t, a.lib.Rotate())
		pass(time.Minute)
		require.NotEqual(t, a.lib.Record().Secret, b.lib.Record().Secret)
		require.NoError(t, b.echo(t, a), "with the former one")
		require.Len(t, a.lib.Record().Former, 1, "b has not shown the new one")
		close(keeping)
		pass(5 * time.Minute)
		require.Equal(t, a.lib.Record().Secret, b.lib.Record().Secret)
	})
}

// Former secrets that are over go, in whatever order they are, and nothing turns in circles meanwhile.
func TestFormerOrder(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		later, sooner := time.Now().Add(2*time.Hour), time.Now().Add(time.Hour)
		a.add(t, library.Record{ID: uuid.New(), Secret: library.NewSecret(), Former: []library.Former{
			{Secret: library.NewSecret(), Until: later, Members: []identity.RemoteIdentity{b.instance.Remote()}},
			{Secret: library.NewSecret(), Until: sooner, Members: []identity.RemoteIdentity{b.instance.Remote()}},
		}}, b)
		pass(90 * time.Minute)
		require.Len(t, a.lib.Record().Former, 1)
		pass(time.Hour)
		require.Empty(t, a.lib.Record().Former)
	})
}

// What is removed is not kept again.
func TestNothingKeptAfterRemove(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, _ := pair(t, network)
		require.NoError(t, a.libraries.Remove(a.lib.ID()))
		a.cfg.Changed = func(library.Record) { t.Error("it was removed") }
		require.ErrorIs(t, a.lib.Rotate(), library.ErrRemoved)
		require.ErrorIs(t, a.lib.Update(a.lib.Record()), library.ErrRemoved)
	})
}
