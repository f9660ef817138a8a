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

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// TestHandlers: the result of a handler determines what the other side reads.
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
			c, err := a.lib.Open(t.Context(), b.own(), route)
			require.NoError(t, err, route)
			time.Sleep(time.Minute) // by now the handler is done, unless it waits for room to write
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

// TestHandlerKnows: a handler knows which member it serves, and in which
// library.
func TestHandlerKnows(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		second := a.add(t, b).record()
		b.load(t, second)
		seen := make(chan *tunnel.Conn, 1)
		b.lib.Handle("who", func(_ context.Context, c *tunnel.Conn) error { seen <- c; return nil })
		c, err := a.lib.Open(t.Context(), b.own(), "who")
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
		other, err := first.Open(t.Context(), b.own(), "who")
		require.NoError(t, err)
		_, err = other.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrNoRoute, "a route belongs to one library")
	})
}

// TestRoutes: mistakes of the app, and reserved names.
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
		c, err := a.lib.Open(t.Context(), b.own(), long)
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		for _, name := range []string{"", "a\n", "\xff", long + "x"} {
			_, err := a.lib.Open(t.Context(), b.own(), name)
			require.Error(t, err, name)
		}
		_, err = a.libraries.Add(newCharter(t, a).record(), identity.Identity{})
		require.ErrorIs(t, err, library.ErrInvalid)
	})
}

// TestRouteTime: the opener of a tunnel has 5 s to name a valid route.
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

// TestShutdown: handlers are told of the shutdown, and Shutdown waits for them.
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
		c, err := a.lib.Open(t.Context(), b.own(), "wait")
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

// TestPanicLeavesNothing: a handler that panics leaves no tunnel behind.
func TestPanicLeavesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		conns := make(chan *tunnel.Conn, 1)
		b.lib.Handle("panic", func(_ context.Context, c *tunnel.Conn) error {
			conns <- c
			panic("oh")
		})
		c, err := a.lib.Open(t.Context(), b.own(), "panic")
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrHandlerFailed)
		far := <-conns
		pass(time.Minute)
		select {
		case <-far.Done():
		default:
			t.Error("the tunnel has not ended: it stays for 24 h, until its timer ends it")
			far.Abort(errors.New("end"))
		}
	})
}

// TestShutdownLastWords: at shutdown, the handlers of tunnels can still write,
// like those of streams: reads fail, writes work.
func TestShutdownLastWords(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		b.lib.Handle("wait", func(ctx context.Context, c *tunnel.Conn) error {
			<-ctx.Done()
			_, err := io.WriteString(c, "bye")
			return err
		})
		c, err := a.lib.Open(t.Context(), b.own(), "wait")
		require.NoError(t, err)
		pass(time.Second)
		go b.stop(t)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "bye", string(got))
		c.Close()
	})
}

// TestCallWhileJoining: the admin that adds a device may open a tunnel to it
// before the device has learned that it was added. Opening waits until it has.
func TestCallWhileJoining(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		b.start(t, network, p2p.Config{})
		a.found(t, library.RecoveryKey{})
		before := a.lib.Record()
		_, err := a.lib.Admit(b.first(t, before), library.RoleMember, "b", library.RecoveryKey{})
		require.NoError(t, err)
		pass(5 * time.Second) // until a has tried to tell b, which has no library yet
		b.load(t, before)
		went := make(chan error, 1)
		go func() { went <- a.echo(t, b) }()
		pass(time.Second)
		require.Zero(t, b.lib.Role())
		require.Empty(t, went)
		require.NoError(t, b.lib.Learn(a.lib.Record().Statements))
		require.NoError(t, <-went)
	})
}

// TestCallWhileOut: if the device does not learn of it, opening fails.
func TestCallWhileOut(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.start(t, network, p2p.Config{})
		b.start(t, network, p2p.Config{})
		a.found(t, library.RecoveryKey{})
		before := a.lib.Record()
		_, err := a.lib.Admit(b.first(t, before), library.RoleMember, "b", library.RecoveryKey{})
		require.NoError(t, err)
		pass(5 * time.Second)
		b.load(t, before)
		began := time.Now()
		require.ErrorIs(t, a.echo(t, b), p2p.ErrNoRoute)
		require.Less(t, time.Since(began), 10*time.Second)
	})
}
