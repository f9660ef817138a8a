package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/session"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// A pair is two members of a library: one opens streams, the other serves them.
type pair struct {
	opener, server *p2p.P2P
	here, there    *library.Library // the same library, on either side
	link           *p2ptest.Link
	session        *session.Session
	routes         session.Mux
	logged         bytes.Buffer
	tunnels        atomic.Int32 // number of tunnels opened
	ended          atomic.Int32 // number of tunnels ended
}

func newPair(t testing.TB) *pair {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	p := &pair{}
	p.routes.Logger = slog.New(slog.NewTextHandler(&p.logged, nil))
	key := identity.New()
	start := func(id identity.Identity) (*p2p.P2P, *library.Libraries) {
		libraries := library.New(library.Config{})
		var mux p2p.Mux
		mux.Handle(library.Route, p2p.Anyone, libraries)
		node := network.Start(t, p2p.Config{Identity: id, Handler: &mux, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, node.Register(t.Context(), libraries))
		return node, libraries
	}
	server, theirs := start(identity.New())
	opener, ours := start(key)
	p.server, p.opener = server, opener
	var err error
	p.there, err = theirs.Found("photos", library.RecoveryKey{})
	require.NoError(t, err)
	r, instance := p.there.Record(), identity.New()
	first, err := r.First(key, instance)
	require.NoError(t, err)
	_, err = p.there.Admit(first, library.RoleMember, "", library.RecoveryKey{})
	require.NoError(t, err)
	p.here, err = ours.Add(p.there.Record(), instance)
	require.NoError(t, err)
	p.link = network.Link(opener.Identity(), server.Identity())
	p.there.Handle(session.Route, func(ctx context.Context, c *tunnel.Conn) error {
		p.tunnels.Add(1)
		defer p.ended.Add(1)
		return p.routes.Serve(ctx, c)
	})
	p.routes.Handle("echo", func(_ context.Context, c *session.Conn) error {
		_, err := io.Copy(c, c)
		return err
	})
	p.session = session.New(p.here, p.there.Instance())
	t.Cleanup(func() { p.session.Close() })
	return p
}

// bubble runs a test of two members in simulated time.
func bubble(t *testing.T, f func(t *testing.T, p *pair)) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		time.Sleep(time.Second) // the nodes find each other
		f(t, p)
	})
}

func (p *pair) open(t testing.TB, route string) *session.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := p.session.Open(ctx, route)
	require.NoError(t, err)
	return c
}

// talk sends a text, and requires it back.
func talk(c *session.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != text {
		return fmt.Errorf("%q came back", b)
	}
	return nil
}

// Many streams at a time share one tunnel, and each carries its own bytes, to
// its end.
func TestStreams(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				c := p.open(t, "echo")
				defer c.Close()
				require.NoError(t, talk(c, fmt.Sprint("text ", i)))
				require.NoError(t, c.CloseWrite())
				rest, err := io.ReadAll(c)
				require.NoError(t, err)
				require.Empty(t, rest)
				require.Equal(t, p.there.Instance(), c.Instance())
				require.Equal(t, p.there.ID(), c.Library())
				require.Equal(t, p.server.Identity(), c.Node())
			})
		}
		all.Wait()
		require.EqualValues(t, 1, p.tunnels.Load())
	})
}

// The opener of a stream gets the result of its handler, which affects no other
// stream.
func TestHandlers(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		const code = p2p.FirstAppCode + 7
		p.routes.Handle("fails", func(context.Context, *session.Conn) error { return errors.New("private") })
		p.routes.Handle("code", func(context.Context, *session.Conn) error { return fmt.Errorf("private: %w", code) })
		p.routes.Handle("panics", func(context.Context, *session.Conn) error { panic("at the disco") })
		p.routes.Handle("removed", func(context.Context, *session.Conn) error { return nil })
		p.routes.Handle("removed", nil)
		p.routes.Handle("last words", func(_ context.Context, c *session.Conn) error {
			_, err := io.WriteString(c, "bye")
			return err
		})
		other := p.open(t, "echo")
		for route, want := range map[string]error{
			"fails": p2p.ErrHandlerFailed, "code": code, "panics": p2p.ErrHandlerFailed, "removed": p2p.ErrNoRoute, "none": p2p.ErrNoRoute,
		} {
			_, err := p.open(t, route).Read(make([]byte, 1))
			require.ErrorIs(t, err, want, route)
			var reset *p2p.ResetError
			require.ErrorAs(t, err, &reset, route)
			require.True(t, reset.Remote, route)
			require.NotContains(t, err.Error(), "private")
		}
		require.Contains(t, p.logged.String(), "at the disco")
		c := p.open(t, "last words")
		b, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "bye", string(b))
		synctest.Wait() // the other side's stop to reading arrives after its end
		_, err = c.Write([]byte("x"))
		require.ErrorIs(t, err, p2p.ErrCanceled)
		require.NoError(t, talk(other, "still there"))
		require.EqualValues(t, 1, p.tunnels.Load())
		_, err = p.session.Open(t.Context(), string(make([]byte, 1<<16)))
		require.Error(t, err)
	})
}

// A stream whose opener never names a route is reset after 5 s.
func TestSilentStream(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		c, err := p.here.Open(t.Context(), p.there.Instance(), session.Route)
		require.NoError(t, err)
		began := time.Now()
		_, err = session.RawStream(t, c).Read(make([]byte, 1))
		require.ErrorContains(t, err, fmt.Sprint("code: ", uint32(p2p.ErrTimeout)))
		require.Equal(t, 5*time.Second, time.Since(began).Truncate(time.Second))
	})
}

// A lost tunnel never looks like the end of a stream, and the next stream gets
// another tunnel.
func TestLost(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		c := p.open(t, "echo")
		require.NoError(t, talk(c, "hello"))
		p.link.Cut()
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrConnectionLost)
		_, err = c.Write([]byte("x"))
		require.ErrorIs(t, err, p2p.ErrConnectionLost)
		_, err = p.session.Open(t.Context(), "echo")
		require.Error(t, err)
		p.link.Restore()
		time.Sleep(time.Minute)
		require.NoError(t, talk(p.open(t, "echo"), "again"))
		require.EqualValues(t, 2, p.tunnels.Load())
	})
}

// A removed member's streams end at once.
func TestRemoved(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		c := p.open(t, "echo")
		require.NoError(t, talk(c, "hello"))
		began := time.Now()
		require.NoError(t, p.there.Remove(p.here.Instance(), library.RemoveOptions{}))
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrConnectionLost)
		require.Less(t, time.Since(began), time.Second)
	})
}

// A session without streams closes its tunnel, and opens another one when it
// needs one.
func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		a, b := p.open(t, "echo"), p.open(t, "echo")
		a.Close()
		a.Close()
		time.Sleep(2 * session.IdleTime)
		require.NoError(t, talk(b, "still there"))
		b.Reset(p2p.ErrCanceled)
		time.Sleep(session.IdleTime - time.Second)
		require.Zero(t, p.ended.Load())
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 1, p.ended.Load())
		require.NoError(t, talk(p.open(t, "echo"), "again"))
		require.EqualValues(t, 2, p.tunnels.Load())
	})
}

// Shortly before a tunnel is too old, new streams get another tunnel, and the
// old one ends with its last stream.
func TestRetire(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		c := p.open(t, "echo")
		time.Sleep(tunnel.MaxAge - time.Hour)
		require.NoError(t, talk(p.open(t, "echo"), "new"))
		require.EqualValues(t, 2, p.tunnels.Load())
		time.Sleep(30 * time.Minute)
		require.NoError(t, talk(c, "old"))
		c.Close()
		time.Sleep(time.Second)
		require.EqualValues(t, 1, p.ended.Load())
	})
}

// Streams beyond the limit wait for a place.
func TestMaxStreams(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		var all []*session.Conn
		for range session.MaxStreams {
			all = append(all, p.open(t, "echo"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.session.Open(ctx, "echo")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.AfterFunc(5*time.Second, func() { all[7].Close() })
		require.NoError(t, talk(p.open(t, "echo"), "at last"))
		for i, c := range all {
			if i != 7 {
				require.NoError(t, talk(c, "hello"))
			}
		}
	})
}

// A member that does not read holds up only its own stream.
func TestStalledStream(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		p.routes.Handle("stall", func(ctx context.Context, c *session.Conn) error {
			<-ctx.Done()
			return nil
		})
		c := p.open(t, "stall")
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Second)))
		_, err := c.Write(make([]byte, 1<<20))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, talk(p.open(t, "echo"), "hello"))
	})
}

// Bytes that were written to closed streams arrive, even if the session is
// closed right after.
func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		got := make(chan []byte, 20)
		p.routes.Handle("collect", func(_ context.Context, c *session.Conn) error {
			b, err := io.ReadAll(c)
			got <- b
			return err
		})
		sent := bytes.Repeat([]byte("x"), 100_000)
		for range cap(got) {
			c := p.open(t, "collect")
			_, err := c.Write(sent)
			require.NoError(t, err)
			require.NoError(t, c.Close())
		}
		pending := p.open(t, "echo")
		require.NoError(t, p.session.Close())
		for range cap(got) {
			require.Equal(t, sent, <-got)
		}
		_, err := pending.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, io.EOF)
		_, err = p.session.Open(t.Context(), "echo")
		require.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, p.session.Close())
	})
}

// If a node shuts down, its streams fail; it does not look like their regular
// end.
func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		done := make(chan struct{})
		p.routes.Handle("wait", func(ctx context.Context, c *session.Conn) error {
			defer close(done)
			<-ctx.Done()
			return ctx.Err()
		})
		c, other := p.open(t, "wait"), p.open(t, "echo")
		require.NoError(t, talk(other, "hello"))
		began := time.Now()
		require.NoError(t, p.server.Shutdown(t.Context()))
		<-done
		for _, c := range []*session.Conn{c, other} {
			_, err := io.ReadAll(c)
			require.Error(t, err)
		}
		require.Less(t, time.Since(began), time.Second)
	})
}

// A stream is a net.Conn.
func TestConformance(t *testing.T) {
	p := newPair(t)
	accepted := make(chan net.Conn)
	p.routes.Handle("pipe", func(ctx context.Context, c *session.Conn) error {
		end := make(chan struct{})
		accepted <- &closing{Conn: c, end: end}
		<-end
		return nil
	})
	for range p.opener.Available(t.Context()) {
		break
	}
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, err := p.session.Open(t.Context(), "pipe")
		if err != nil {
			return nil, nil, nil, err
		}
		b := <-accepted
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

// closing closes a channel when it is closed.
type closing struct {
	net.Conn
	once sync.Once
	end  chan struct{}
}

func (c *closing) Close() error {
	defer c.once.Do(func() { close(c.end) })
	return c.Conn.Close()
}
