package library_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// A held is a stream whose second and later writes wait until they are
// released.
type held struct {
	*p2p.Stream
	writes  atomic.Int32
	release chan struct{}
}

func (h *held) Write(b []byte) (int, error) {
	if h.writes.Add(1) > 1 {
		<-h.release
	}
	return h.Stream.Write(b)
}

// TestRemovedMeanwhile: changes between the two halves of a handshake count: a
// tunnel is confirmed only to a device that is a member at that time.
func TestRemovedMeanwhile(t *testing.T) {
	for name, change := range map[string]func(c *charter, a, b *device) error{
		"nothing":         func(_ *charter, _, _ *device) error { return nil },
		"removed":         func(_ *charter, a, b *device) error { return a.remove(b) },
		"blocked":         func(_ *charter, a, b *device) error { return a.lib.Block(b.own()) },
		"left":            func(_ *charter, a, _ *device) error { return a.lib.Leave() },
		"library removed": func(_ *charter, a, _ *device) error { return a.libraries.Remove(a.lib.ID()) },
		"moved": func(c *charter, a, b *device) error {
			return a.lib.Learn(roster.Statements{c.move(b, identity.New())})
		},
		"another secret": func(_ *charter, a, _ *device) error { return a.lib.Rotate() },
		"blocked and back": func(_ *charter, a, b *device) error {
			return errors.Join(a.lib.Block(b.own()), a.lib.Unblock(b.own()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a, b := newDevice(), newDevice()
				charter := running(t, network, a, b)
				network.Link(a.Identity(), b.Identity()).SetDelay(time.Millisecond)
				hold := &held{release: make(chan struct{})}
				c := b.raw(t, a, func(s *p2p.Stream) net.Conn { hold.Stream = s; return hold })
				pass(time.Second)
				require.NoError(t, change(charter, a, b))
				close(hold.release)
				_, err := c.Write([]byte("\x04echo"))
				require.NoError(t, ignore(err, io.ErrClosedPipe, p2p.ErrTunnelRefused, tunnel.ErrTruncated))
				err = talk(c, "hello")
				if name == "nothing" || name == "another secret" || name == "blocked and back" {
					require.NoError(t, err)
					synctest.Wait()
					require.Equal(t, 1, a.served())
					return
				}
				if name == "left" { // b is a member, and may know the reason
					require.ErrorIs(t, err, p2p.ErrNoRoute)
				} else {
					require.ErrorIs(t, err, p2p.ErrTunnelRefused)
				}
				require.Zero(t, a.served())
			})
		})
	}
}

// TestSecretOverMeanwhile: a former secret that expires during a handshake
// opens no tunnel.
func TestSecretOverMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		old := b.lib.Record().Secret
		require.NoError(t, a.lib.Rotate())
		pass(7*day - time.Second)
		hold := &held{release: make(chan struct{})}
		c := b.rawWith(t, a, old, func(s *p2p.Stream) net.Conn { hold.Stream = s; return hold })
		pass(time.Second)
		close(hold.release)
		_, err := c.Write([]byte("\x04echo"))
		require.NoError(t, ignore(err, p2p.ErrTunnelRefused, tunnel.ErrTruncated))
		require.ErrorIs(t, talk(c, "hello"), p2p.ErrTunnelRefused)
		require.Zero(t, a.served())
	})
}

// gates are the ways in which an app may answer a request to open a tunnel.
var gates = map[string]struct {
	allow func(ctx context.Context, a *device, r p2p.Request) error
	takes time.Duration // time until the refusal
}{
	"yes":     {allow: func(context.Context, *device, p2p.Request) error { return nil }},
	"no":      {func(context.Context, *device, p2p.Request) error { return errTest }, 250 * time.Millisecond},
	"panics":  {func(context.Context, *device, p2p.Request) error { panic("gate") }, 250 * time.Millisecond},
	"waits":   {func(ctx context.Context, _ *device, _ p2p.Request) error { <-ctx.Done(); return nil }, 250 * time.Millisecond},
	"blocks":  {func(context.Context, *device, p2p.Request) error { time.Sleep(time.Hour); return nil }, 250 * time.Millisecond},
	"is slow": {func(context.Context, *device, p2p.Request) error { time.Sleep(201 * time.Millisecond); return nil }, 250 * time.Millisecond},
	"is slow, and in time": {allow: func(context.Context, *device, p2p.Request) error {
		time.Sleep(199 * time.Millisecond)
		return nil
	}},
	"removes": {func(_ context.Context, a *device, r p2p.Request) error {
		return a.lib.Remove(r.Instance, library.RemoveOptions{})
	}, 250 * time.Millisecond},
	"revokes": {func(_ context.Context, a *device, r p2p.Request) error { a.Revoke(r.Peer); return nil }, 0},
	"removes all": {func(_ context.Context, a *device, r p2p.Request) error {
		return a.libraries.Remove(r.Library)
	}, 250 * time.Millisecond},
	"uses all": {allow: func(ctx context.Context, a *device, r p2p.Request) error {
		l, ok := a.libraries.Get(r.Library)
		if !ok || len(a.libraries.All()) != 1 || len(l.Members()) != 1 || len(a.Tracked()) != 1 {
			return errTest
		}
		return errors.Join(l.Block(newDevice().own()), a.UpdateMetadata(func(m map[string]string) { m["asked"] = "yes" }))
	}},
}

// TestGate: Allow is called for each tunnel, with a description of it. Unless
// it agrees within 200 ms, no tunnel is opened.
func TestGate(t *testing.T) {
	for name, test := range gates {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				a, b := newDevice(), newDevice()
				asked := make(chan p2p.Request, 100)
				var begun atomic.Bool
				a.start(t, network, p2p.Config{Allow: func(ctx context.Context, r p2p.Request) error {
					if r.Action != p2p.OpenTunnel || !begun.Load() {
						return nil
					}
					asked <- r
					return test.allow(ctx, a, r)
				}})
				b.start(t, network, p2p.Config{})
				r := a.add(t, b).record()
				b.load(t, r)
				pass(5 * time.Second) // they have exchanged their statements
				begun.Store(true)
				began := time.Now()
				err := b.echo(t, a)
				require.Len(t, asked, 1, "%v", err)
				request := <-asked
				request.Path = p2p.Path{}
				require.Equal(t, p2p.Request{
					Action: p2p.OpenTunnel, Peer: b.id.Remote(), Library: r.ID, Instance: b.instance.Remote(),
				}, request)
				if test.takes == 0 && name != "revokes" {
					require.NoError(t, err)
					synctest.Wait()
					require.Equal(t, 1, a.served())
				} else {
					require.Error(t, ignore(err, context.DeadlineExceeded))
					if name != "revokes" {
						require.ErrorIs(t, err, p2p.ErrTunnelRefused)
					}
					require.Equal(t, test.takes, time.Since(began))
					require.Zero(t, a.served())
				}
				if name != "revokes" {
					require.NoError(t, ignore(a.echo(t, b), library.ErrNoMember, library.ErrRemoved), "Allow is not consulted about tunnels that this node opens")
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

var errTest = errors.New("what the test wants")

// ignore returns nil for errors that a test expects.
func ignore(err error, expected ...error) error {
	for _, e := range expected {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// TestGateIsNotAsked: Allow is not called for a node that is no member.
func TestGateIsNotAsked(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		asked := false
		a.start(t, network, p2p.Config{Allow: func(_ context.Context, r p2p.Request) error {
			asked = asked || r.Action == p2p.OpenTunnel
			return nil
		}})
		r := a.add(t).record()
		b.start(t, network, p2p.Config{})
		b.pretend(t, r, a)
		pass(time.Second)
		require.ErrorIs(t, b.echo(t, a), tunnel.ErrHandshake)
		require.False(t, asked)
	})
}

// TestRevoke: a revoked node loses its tunnels at once, and gets no new ones
// until it is reinstated.
func TestRevoke(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		in, out := b.open(t, a), a.open(t, b)
		touch(t, in)
		touch(t, out)
		a.Revoke(b.id.Remote())
		lost(t, in, tunnel.ErrTruncated)
		lost(t, out, tunnel.ErrTruncated)
		require.ErrorIs(t, a.echo(t, b), p2p.ErrRevoked)
		require.ErrorIs(t, a.presence(t, b).Err, p2p.ErrRevoked)
		require.Error(t, b.echo(t, a))
		pass(time.Second)
		require.Equal(t, 1, a.served())
		a.Reinstate(b.id.Remote())
		require.NoError(t, b.echo(t, a))
		require.NoError(t, a.echo(t, b))
	})
}

// TestCutHandshake: a handshake that is cut, after any byte and on either side,
// opens no tunnel: no handler is called.
func TestCutHandshake(t *testing.T) {
	const m1, confirm, route = 98, 19, 19 + 5
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.cfg.Limits = plenty
		running(t, network, a, b)
		to := tunnel.Member{Instance: a.own(), Node: a.id.Remote()}
		for n := range m1 + confirm + route {
			for _, end := range []func(s *p2p.Stream){
				func(s *p2p.Stream) { s.CloseWrite() }, func(s *p2p.Stream) { s.Close() }, func(s *p2p.Stream) { s.Reset(p2p.ErrCanceled) },
			} {
				s, session := b.stream(t, a.id.Remote())
				session.Stream = &limited{Conn: s, left: n, end: func() { end(s) }}
				c, err := tunnel.Open(t.Context(), session, b.credential(), to)
				if n < m1 {
					require.ErrorIs(t, err, tunnel.ErrHandshake, n)
					continue
				}
				require.NoError(t, ignore(err, tunnel.ErrHandshake), n)
				if err == nil {
					c.Write([]byte("\x04echo"))
					_, err = c.Read(make([]byte, 1))
					require.Error(t, err, n)
					c.Abort(errTest)
				}
			}
		}
		pass(time.Minute)
		require.Zero(t, a.served())
		require.NoError(t, b.echo(t, a))
		pass(time.Second)
		require.Equal(t, 1, a.served())
	})
}

// A limited is a stream that discards what is written beyond a number of bytes,
// and then calls end.
type limited struct {
	net.Conn
	left int
	end  func()
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	if n > 0 {
		if _, err := l.Conn.Write(b[:n]); err != nil {
			return 0, err
		}
	}
	if l.left -= n; l.left == 0 && l.end != nil {
		l.end()
		l.end = nil
	}
	return len(b), nil
}

// TestCutAnswer: an answer that is cut, after any byte, or is not an answer,
// opens no tunnel.
func TestCutAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		size := 0
		var mux p2p.Mux
		mux.HandleFunc(library.Route, p2p.Anyone, func(_ context.Context, s *p2p.Stream) error {
			_, err := s.Write(make([]byte, size))
			return err
		})
		network.Start(t, p2p.Config{Identity: b.id, Handler: &mux})
		a.start(t, network, p2p.Config{})
		a.add(t, b)
		pass(time.Second)
		for size = range 100 {
			require.ErrorIs(t, a.echo(t, b), tunnel.ErrHandshake)
		}
	})
}

// TestGateAgrees: an Allow function that agrees is never taken for one that
// does not answer in time.
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
