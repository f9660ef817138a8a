package library_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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

// Members talk, in both directions; who is no member gets nothing, and no reason; a route that is not there is told.
func TestMembers(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, stranger := newDevice(), newDevice(), newDevice()
		r := library.Record{ID: uuid.New(), Secret: library.NewSecret()}
		running(t, network, r, a, b)
		stranger.start(t, network, p2p.Config{})
		stranger.add(t, r, a, b)
		pass(time.Second)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, b.echo(t, a))

		began := time.Now()
		err := stranger.echo(t, a)
		require.ErrorIs(t, err, tunnel.ErrHandshake)
		require.ErrorIs(t, err, p2p.ErrTunnelRefused)
		require.Equal(t, 250*time.Millisecond, time.Since(began))
		require.ErrorIs(t, a.echo(t, stranger), library.ErrNoMember)
		pass(time.Second)
		require.Equal(t, 1, a.served())

		c, err := a.lib.Open(t.Context(), b.instance.Remote(), "no such route")
		require.NoError(t, err)
		lost(t, c, p2p.ErrNoRoute)

		require.NoError(t, a.libraries.Remove(r.ID))
		require.ErrorIs(t, a.echo(t, b), library.ErrRemoved)
		require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)
		require.ErrorIs(t, a.libraries.Remove(r.ID), library.ErrRemoved)
		require.ErrorIs(t, a.lib.Rotate(), library.ErrRemoved)
		require.ErrorIs(t, a.lib.AddMember(stranger.member()), library.ErrRemoved)
		require.ErrorIs(t, a.lib.Update(r), library.ErrRemoved)
	})
}

// What keeps two instances from talking, each alone: keys, node, library, secret.
func TestStrangers(t *testing.T) {
	for name, change := range map[string]func(a, b *device, r *library.Record) []library.Member{
		"no member": func(_, _ *device, _ *library.Record) []library.Member { return nil },
		"another instance": func(_, b *device, _ *library.Record) []library.Member {
			return []library.Member{{Instance: identity.New().Remote(), Node: b.id.Remote()}}
		},
		"another node": func(_, b *device, _ *library.Record) []library.Member {
			return []library.Member{{Instance: b.instance.Remote(), Node: identity.New().Remote()}}
		},
		"another library": func(_, b *device, r *library.Record) []library.Member {
			r.ID = uuid.New()
			return members(b)
		},
		"another secret": func(_, b *device, r *library.Record) []library.Member {
			r.Secret = library.NewSecret()
			return members(b)
		},
		"no secret": func(_, b *device, r *library.Record) []library.Member {
			r.Secret = library.Secret{}
			return members(b)
		},
		"a former secret that b may not use": func(_, b *device, r *library.Record) []library.Member {
			r.Former = []library.Former{{Secret: r.Secret, Until: time.Now().Add(time.Hour), Members: []identity.RemoteIdentity{newDevice().instance.Remote()}}}
			r.Secret = library.NewSecret()
			return members(b)
		},
		"a former secret that is over": func(_, b *device, r *library.Record) []library.Member {
			r.Former = []library.Former{{Secret: r.Secret, Until: time.Now(), Members: []identity.RemoteIdentity{b.instance.Remote()}}}
			r.Secret = library.NewSecret()
			return members(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a, b := pair(t, network)
				r := b.lib.Record()
				require.NoError(t, a.libraries.Remove(r.ID))
				r.Members = change(a, b, &r)
				a.load(t, r)
				require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)
				require.Zero(t, a.served())
			})
		})
	}
}

// Entries of the node's metadata come and go with the libraries, while the hook runs.
func TestMetadata(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		d := newDevice()
		d.hook()
		early := library.Record{ID: uuid.New()}
		d.add(t, early)
		d.P2P = network.Start(t, p2p.Config{Identity: d.id, Metadata: map[string]string{"mine": "x"}})
		want := func(ids ...uuid.UUID) {
			t.Helper()
			entries := map[string]string{}
			for _, id := range ids {
				entries[id.String()] = d.instance.Remote().String()
			}
			require.Equal(t, entries, p2p.Libraries(d.Metadata()))
			require.Equal(t, "x", d.Metadata()["mine"])
		}
		want()
		require.NoError(t, d.Register(t.Context(), d.libraries))
		want(early.ID)
		late := library.Record{ID: uuid.New()}
		d.add(t, late)
		want(early.ID, late.ID)
		_, err := d.libraries.Add(late, identity.New())
		require.ErrorIs(t, err, library.ErrAdded)
		want(early.ID, late.ID)
		require.Len(t, d.libraries.All(), 2)

		require.NoError(t, d.Unregister(t.Context(), d.libraries))
		want()
		require.NoError(t, d.libraries.Remove(early.ID))
		require.NoError(t, d.Register(t.Context(), d.libraries))
		want(late.ID)
		require.NoError(t, d.libraries.Remove(late.ID))
		want()
		_, ok := d.libraries.Get(late.ID)
		require.False(t, ok)
		require.Empty(t, d.libraries.All())
		d.add(t, late) // again
		want(late.ID)
	})
}

// The hook serves one node at a time, and works again after it has ended.
func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		other := network.Start(t, p2p.Config{})
		require.Error(t, other.Register(t.Context(), a.libraries))
		require.NoError(t, a.echo(t, b))

		in, out := b.open(t, a), a.open(t, b)
		touch(t, in)
		touch(t, out)
		require.NoError(t, a.Unregister(t.Context(), a.libraries))
		touch(t, in)
		touch(t, out)
		require.ErrorIs(t, a.echo(t, b), library.ErrNotRunning)
		require.ErrorIs(t, b.echo(t, a), p2p.ErrShuttingDown)
		require.Empty(t, a.Tracked())

		require.NoError(t, a.Register(t.Context(), a.libraries))
		require.Len(t, a.Tracked(), 1)
		pass(time.Second)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, b.echo(t, a))
		require.NoError(t, a.Unregister(t.Context(), a.libraries))
		require.NoError(t, a.lib.RemoveMember(b.instance.Remote()))
		lost(t, out, tunnel.ErrUnauthorized) // what was open can still be ended
		lost(t, in, tunnel.ErrTruncated)
	})
}

// A record that does not fit the node keeps the hook from starting.
func TestRegisterInvalid(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		d := newDevice()
		d.hook()
		r := library.Record{ID: uuid.New(), Members: []library.Member{{Instance: identity.New().Remote(), Node: d.id.Remote()}}}
		d.load(t, r)
		d.P2P = network.Start(t, p2p.Config{Identity: d.id})
		require.ErrorIs(t, d.Register(t.Context(), d.libraries), library.ErrInvalid)
		require.Empty(t, p2p.Libraries(d.Metadata()))
		require.Empty(t, d.Tracked())
		require.NoError(t, d.libraries.Remove(r.ID))
		require.NoError(t, d.Register(t.Context(), d.libraries))
	})
}

// 64 libraries fit, or fewer with former secrets; one more of either does not, and changes nothing.
func TestTooMany(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		for range 62 {
			a.add(t, library.Record{ID: uuid.New()})
		}
		a.add(t, library.Record{ID: uuid.New()}, b)
		require.NoError(t, a.lib.Rotate())
		rotated := a.lib.Record()
		require.Len(t, rotated.Former, 1, "b does not have the new one")

		_, err := a.libraries.Add(library.Record{ID: uuid.New()}, a.instance)
		require.ErrorIs(t, err, library.ErrTooMany)
		require.Len(t, a.libraries.All(), 63)
		require.Len(t, p2p.Libraries(a.Metadata()), 63)
		other := a.libraries.All()[0]
		if other == a.lib {
			other = a.libraries.All()[1]
		}
		full := other.Record()
		full.Members = members(b)
		full.Former = []library.Former{{Secret: library.NewSecret(), Until: time.Now().Add(time.Hour), Members: rotated.Former[0].Members}}
		require.ErrorIs(t, other.Update(full), library.ErrTooMany)
		require.ErrorIs(t, a.lib.Rotate(), library.ErrTooMany)
		require.Nil(t, other.Record().Former)

		whole := rotated.Clone()
		whole.Former = nil
		require.NoError(t, a.lib.Update(whole))
		a.add(t, library.Record{ID: uuid.New()}, b)
		require.Len(t, p2p.Libraries(a.Metadata()), 64)
		_, err = a.libraries.Add(library.Record{ID: uuid.New()}, a.instance)
		require.ErrorIs(t, err, library.ErrTooMany)
		require.ErrorIs(t, a.lib.Rotate(), library.ErrTooMany)

		b.start(t, network, p2p.Config{})
		b.add(t, library.Record{ID: a.lib.ID()}, a)
		pass(time.Second)
		require.NoError(t, b.echo(t, a), "the 64th is served")
	})
}

// Metadata that have no room for a library's entry: it is not added.
func TestNoRoomInMetadata(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		d := newDevice()
		d.hook()
		crowd := map[string]string{}
		for i := range 64 {
			crowd[uuid.New().String()] = fmt.Sprint(i)
		}
		d.P2P = network.Start(t, p2p.Config{Identity: d.id, Metadata: crowd})
		require.NoError(t, d.Register(t.Context(), d.libraries))
		_, err := d.libraries.Add(library.Record{ID: uuid.New()}, d.instance)
		require.ErrorIs(t, err, p2p.ErrTooManyLibraries)
		require.Empty(t, d.libraries.All())
		require.NoError(t, d.Unregister(t.Context(), d.libraries))
		d.add(t, library.Record{ID: uuid.New()})
		require.ErrorIs(t, d.Register(t.Context(), d.libraries), p2p.ErrTooManyLibraries)
		require.Equal(t, crowd, p2p.Libraries(d.Metadata()))
	})
}

// What a handler returns is what the other side reads.
func TestHandlers(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		long := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		errTest := errors.New("test")
		handle := func(name string, f func(ctx context.Context, c *tunnel.Conn) error) { b.lib.Handle(name, f) }
		handle("writes", func(_ context.Context, c *tunnel.Conn) error { _, err := c.Write(long); return err })
		handle("ends", func(context.Context, *tunnel.Conn) error { return nil })
		handle("fails", func(context.Context, *tunnel.Conn) error { return errTest })
		handle("code", func(context.Context, *tunnel.Conn) error { return fmt.Errorf("%w: %w", p2p.FirstAppCode+7, errTest) })
		handle("panics", func(_ context.Context, c *tunnel.Conn) error {
			defer c.Abort(io.EOF)
			panic("oh")
		})
		handle("closes", func(_ context.Context, c *tunnel.Conn) error {
			if _, err := c.Write(long); err != nil {
				return err
			}
			return c.Close()
		})
		handle("aborts", func(_ context.Context, c *tunnel.Conn) error {
			c.Write([]byte("x"))
			c.Abort(errTest)
			return nil
		})
		for route, want := range map[string]struct {
			text []byte
			err  error
		}{
			"writes": {text: long}, "ends": {}, "closes": {text: long},
			"fails": {err: p2p.ErrHandlerFailed}, "code": {err: p2p.FirstAppCode + 7}, "panics": {err: p2p.ErrTunnelRefused},
			"aborts": {err: tunnel.ErrTruncated},
		} {
			c, err := a.lib.Open(t.Context(), b.instance.Remote(), route)
			require.NoError(t, err, route)
			time.Sleep(time.Minute) // the handler is through, but for what waits for room
			got, err := io.ReadAll(c)
			if want.err == nil {
				require.NoError(t, err, route)
				require.True(t, bytes.Equal(want.text, got), route)
			} else {
				require.ErrorIs(t, err, want.err, route)
				require.ErrorIs(t, err, tunnel.ErrTruncated, route)
				require.NotErrorIs(t, err, io.EOF, route)
			}
			c.Close()
		}
	})
}

// A handler knows whom it talks to, and for which library.
func TestHandlerKnows(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		second := library.Record{ID: uuid.New()}
		a.add(t, second, b)
		b.add(t, second, a)
		seen := make(chan *tunnel.Conn, 1)
		b.lib.Handle("who", func(_ context.Context, c *tunnel.Conn) error { seen <- c; return nil })
		c, err := a.lib.Open(t.Context(), b.instance.Remote(), "who")
		require.NoError(t, err)
		defer c.Close()
		far := <-seen
		require.Equal(t, a.instance.Remote(), far.Instance())
		require.Equal(t, a.id.Remote(), far.Node())
		require.EqualValues(t, second.ID, far.Library())
		require.Equal(t, b.instance.Remote(), far.Credential().Instance())
		require.Equal(t, c.HandshakeHash(), far.HandshakeHash())
		require.Equal(t, b.instance.Remote(), b.lib.Instance())
		require.Equal(t, second.ID, b.lib.ID())

		first, _ := a.libraries.Get(a.libraries.All()[0].ID())
		if first == a.lib {
			first = a.libraries.All()[1]
		}
		other, err := first.Open(t.Context(), b.instance.Remote(), "who")
		require.NoError(t, err)
		_, err = other.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrNoRoute, "a route is one library's")
	})
}

// Mistakes of the program, and names that are ours.
func TestRoutes(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		nothing := func(context.Context, *tunnel.Conn) error { return nil }
		for _, name := range []string{"", "echo", "sdp2p/secret", "sdp2p/", "sdp2p/x", "a\n", "\xff", strings.Repeat("x", 256)} {
			require.Panics(t, func() { a.lib.Handle(name, nothing) }, name)
		}
		require.Panics(t, func() { a.lib.Handle("nil", nil) })
		long := strings.Repeat("x", 255)
		b.lib.Handle(long, nothing)
		c, err := a.lib.Open(t.Context(), b.instance.Remote(), long)
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		for _, name := range []string{"", "a\n", "\xff", long + "x"} {
			_, err := a.lib.Open(t.Context(), b.instance.Remote(), name)
			require.Error(t, err, name)
		}
		_, err = a.libraries.Add(library.Record{ID: uuid.New()}, identity.Identity{})
		require.ErrorIs(t, err, library.ErrInvalid)
	})
}

// Who opens a tunnel and names no route, or none that is one, has 5 s.
func TestRouteTime(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		for name, test := range map[string]struct {
			send  []byte
			takes time.Duration
			err   error
		}{
			"nothing": {nil, 5 * time.Second, p2p.ErrTimeout},
			"half":    {[]byte("\x04ech"), 5 * time.Second, p2p.ErrTimeout},
			"no name": {[]byte{0}, 0, p2p.ErrNoRoute},
			"no text": {[]byte{1, 0xff}, 0, p2p.ErrNoRoute},
		} {
			c := a.raw(t, b, nil)
			began := time.Now()
			_, err := c.Write(test.send)
			require.NoError(t, err, name)
			_, err = c.Read(make([]byte, 1))
			require.ErrorIs(t, err, test.err, name)
			require.Equal(t, test.takes, time.Since(began).Truncate(time.Second), name)
		}
		require.Zero(t, b.served())
		c := a.open(t, b)
		touch(t, c)
		pass(time.Minute)
		touch(t, c)
	})
}

// Open fails with why a member cannot be reached, and when its context ends.
func TestOpenFails(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		link := network.Link(a.Identity(), b.Identity())
		link.Cut()
		pass(time.Second)
		dial := (*p2p.DialError)(nil)
		require.ErrorAs(t, a.echo(t, b), &dial)
		require.ErrorIs(t, dial, p2p.ErrNoCandidate)
		link.Restore()
		link.SetLoss(1)
		pass(time.Second)
		require.ErrorAs(t, a.echo(t, b), &dial)
		require.Len(t, dial.Attempts, 1)
		link.SetLoss(0)

		link.SetDelay(2 * time.Second)
		for _, after := range []time.Duration{time.Second, 5 * time.Second, 3 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			began := time.Now()
			_, err := a.lib.Open(ctx, b.instance.Remote(), "echo")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, after, time.Since(began))
			cancel()
			pass(time.Minute)
		}
		require.NoError(t, a.echo(t, b))
		require.NoError(t, a.presence(t, b).Err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.lib.Open(ctx, b.instance.Remote(), "echo")
		require.Error(t, err)
		require.NoError(t, a.presence(t, b).Err, "who gives up says nothing about the member")
	})
}

// Handlers are told of the shutdown, and Shutdown waits for them.
func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		told := make(chan time.Time, 1)
		b.lib.Handle("wait", func(ctx context.Context, _ *tunnel.Conn) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			told <- time.Now()
			return ctx.Err()
		})
		c, err := a.lib.Open(t.Context(), b.instance.Remote(), "wait")
		require.NoError(t, err)
		pass(time.Second)
		began := time.Now()
		b.stop(t)
		require.Equal(t, time.Second, (<-told).Sub(began))
		require.Equal(t, time.Second, time.Since(began))
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, tunnel.ErrTruncated)
	})
}
