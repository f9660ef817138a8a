package ancestor

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-yamux/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/relay"
)

// An end is one end of a circuit in memory.
type end struct{ net.Conn }

func (e end) CloseWrite() error { return errors.New("not done here") }

var relayAddr = netip.MustParseAddrPort("192.0.2.1:4001")

// circuits returns both ends of a circuit between two nodes, which a has
// opened.
func circuits(a, b identity.RemoteIdentity) (ofA, ofB junction.Line) {
	x, y := net.Pipe()
	through := identity.RemoteIdentity{}
	proven := func() {}
	return junction.Line{Stream: end{x}, Peer: b, Dialed: true, Relay: through, Addr: relayAddr, Proven: proven},
		junction.Line{Stream: end{y}, Peer: a, Relay: through, Addr: relayAddr, Proven: proven}
}

// alone starts a node with only the listener: tests hand it circuits.
func alone(t testing.TB, handler p2p.Handler, more ...p2p.Hook) (*p2p.P2P, *Listener) {
	t.Helper()
	l := New(Config{Relays: relay.New(relay.Config{})})
	n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Handler: handler, Hooks: append(more, l)})
	require.NoError(t, err)
	t.Cleanup(func() { n.Shutdown(context.Background()) })
	return n, l
}

// join connects two nodes over a circuit that a has opened.
func join(t testing.TB, a, b *p2p.P2P, la, lb *Listener) (ofB, ofA *p2p.Peer) {
	t.Helper()
	x, y := circuits(a.Identity(), b.Identity())
	taken := make(chan error, 1)
	go func() { taken <- taker{lb}.Take(t.Context(), y) }()
	require.NoError(t, taker{la}.Take(t.Context(), x))
	require.NoError(t, <-taken)
	ofB, ok := a.Peer(b.Identity())
	require.True(t, ok)
	ofA, ok = b.Peer(a.Identity())
	require.True(t, ok)
	return ofB, ofA
}

// A stream is a net.Conn.
func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		served := make(chan *p2p.Stream, 1)
		a, la := alone(t, nil)
		b, lb := alone(t, p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
			served <- s
			<-ctx.Done()
			return nil
		}))
		peer, _ := join(t, a, b, la, lb)
		s, err := peer.NewStream(t.Context())
		if err != nil {
			return nil, nil, nil, err
		}
		c2 = <-served
		return s, c2, func() {
			s.Reset(p2p.ErrCanceled)
			c2.(*p2p.Stream).Reset(p2p.ErrCanceled)
			a.Shutdown(context.Background())
			b.Shutdown(context.Background())
		}, nil
	})
}

// Resets carry their code, even if the other side does not read; a cut does not
// look like the end of a stream.
func TestResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := make(chan *p2p.Stream, 1)
		a, la := alone(t, nil)
		b, lb := alone(t, p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
			served <- s
			<-ctx.Done()
			return nil
		}))
		ofB, _ := join(t, a, b, la, lb)
		open := func() (ours, theirs *p2p.Stream) {
			s, err := ofB.NewStream(t.Context())
			require.NoError(t, err)
			return s, <-served
		}
		code := func(err error, code p2p.ResetCode) {
			t.Helper()
			var reset *p2p.ResetError
			require.ErrorAs(t, err, &reset)
			require.True(t, reset.Remote)
			require.Equal(t, code, reset.Code)
		}
		ours, theirs := open()
		theirs.Reset(p2p.FirstAppCode + 7)
		_, err := ours.Read(make([]byte, 1))
		code(err, p2p.FirstAppCode+7)
		_, err = ours.Write(make([]byte, 1))
		code(err, p2p.FirstAppCode+7)

		ours, theirs = open()
		_, err = theirs.Write([]byte("last words"))
		require.NoError(t, err)
		require.NoError(t, theirs.Close())
		go io.Copy(ours, endless{}) // it learns in the end that the other side does not read
		said, err := io.ReadAll(ours)
		require.NoError(t, err)
		require.Equal(t, "last words", string(said))
		time.Sleep(6 * time.Second)
		_, err = ours.Write(make([]byte, 1))
		code(err, p2p.ErrCanceled)

		ours, _ = open()
		la.running().best(b.Identity()).Close()
		_, err = ours.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrConnectionLost)
	})
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// A deadline that has passed loses no data: the peer may go on as if there had
// been none.
func TestDeadlineKeepsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, la := alone(t, nil)
		b, lb := alone(t, p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
			_, err := io.CopyN(s, endless{}, 8<<20)
			return err
		}))
		ofB, _ := join(t, a, b, la, lb)
		s, err := ofB.NewStream(t.Context())
		require.NoError(t, err)
		got, buf := 0, make([]byte, 100<<10)
		for got < 8<<20 {
			s.SetReadDeadline(time.Unix(1, 0))
			_, err = s.Read(buf)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			s.SetReadDeadline(time.Now().Add(time.Hour))
			n, err := s.Read(buf)
			require.NoError(t, err)
			got += n
		}
	})
}

// A peer that is silent in a circuit, or stops halfway, is cut off after 10 s,
// and nothing is left of it.
func TestSilentPeer(t *testing.T) {
	for name, said := range map[string]string{"nothing": "", "half a message": "\x00\x20abc", "none of Noise": "\x00\x03abc"} {
		for _, dialed := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, la := alone(t, nil)
					x, y := circuits(a.Identity(), identity.New().Remote())
					x.Dialed = dialed
					go io.Copy(io.Discard, y)
					go io.WriteString(y, said)
					began := time.Now()
					require.Error(t, taker{la}.Take(t.Context(), x))
					require.LessOrEqual(t, time.Since(began), handshakeIn)
					_, err := x.Write([]byte{1})
					require.ErrorIs(t, err, io.ErrClosedPipe)
					require.Empty(t, la.running().making)
					require.Empty(t, la.running().through)
					y.Close()
				})
			})
		}
	}
}

// A relay that names another node as the caller is detected.
func TestRelayNamesAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, la := alone(t, nil)
		b, lb := alone(t, nil)
		x, y := circuits(a.Identity(), b.Identity())
		y.Peer = identity.New().Remote()
		taken := make(chan error, 1)
		go func() { taken <- taker{lb}.Take(t.Context(), y) }()
		_ = taker{la}.Take(t.Context(), x) // it may have done its part before the refusal
		require.ErrorIs(t, <-taken, errOtherPeer)
		require.Empty(t, b.Peers())
	})
}

// The app is asked about a connection that a peer initiates. If it refuses, the
// peer has learned nothing, and has gained only a handshake.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Relays: relay.New(relay.Config{})})
		refusal := errors.New("refused")
		var asked p2p.Request
		b, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{l}, Allow: func(_ context.Context, r p2p.Request) error {
			asked = r
			return refusal
		}})
		require.NoError(t, err)
		defer b.Shutdown(context.Background())
		a, la := alone(t, nil)
		x, y := circuits(a.Identity(), b.Identity())
		taken := make(chan error, 1)
		go func() { taken <- taker{l}.Take(t.Context(), y) }()
		require.NoError(t, taker{la}.Take(t.Context(), x))
		require.ErrorIs(t, <-taken, refusal)
		require.Equal(t, p2p.Request{Action: p2p.Connect, Peer: a.Identity(), Path: p2p.Path{Kind: p2p.Relay, Remote: relayAddr}}, asked)
		synctest.Wait()
		require.Empty(t, a.Peers())
		require.Empty(t, l.running().making)
	})
}

// A stranger's connection is closed after 10 s without a stream that is served,
// whereas a tracked peer's stays.
func TestIdle(t *testing.T) {
	for name, tracked := range map[string]bool{"stranger": false, "tracked": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				known := &book{scope: make(chan *p2p.Scope, 1)}
				friends := &book{scope: make(chan *p2p.Scope, 1)}
				a, la := alone(t, nil, friends)
				b, lb := alone(t, nil, known)
				ours, theirs := <-friends.scope, <-known.scope
				if ours.Track(b.Identity()); tracked {
					theirs.Track(a.Identity())
				}
				_, ofA := join(t, a, b, la, lb)
				time.Sleep(strangerIdle - time.Second)
				require.Len(t, ofA.Info().Connections, 1)
				time.Sleep(time.Hour)
				require.Equal(t, tracked, len(ofA.Info().Connections) == 1)
			})
		})
	}
}

// A peer may have 8 connections, and the strangers of one relay 32.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := alone(t, nil)
		r := l.running()
		through := identity.New().Remote()
		var leave []func()
		enter := func(peer identity.RemoteIdentity, relay identity.RemoteIdentity, stranger bool) error {
			end, err := r.enter(junction.Line{Peer: peer, Relay: relay}, stranger)
			if err == nil {
				leave = append(leave, end)
			}
			return err
		}
		one := identity.New().Remote()
		for range maxOfPeer {
			require.NoError(t, enter(one, through, true))
		}
		require.ErrorIs(t, enter(one, identity.New().Remote(), false), p2p.ErrBusy)
		for range maxStrangers - maxOfPeer {
			require.NoError(t, enter(identity.New().Remote(), through, true))
		}
		require.ErrorIs(t, enter(identity.New().Remote(), through, true), p2p.ErrBusy)
		require.NoError(t, enter(identity.New().Remote(), through, false), "known peers do not count as strangers")
		require.NoError(t, enter(identity.New().Remote(), identity.New().Remote(), true), "strangers through another relay count separately")
		for _, f := range leave {
			f()
			f()
		}
		require.Empty(t, r.making)
		require.Empty(t, r.through)
	})
}

// The data that peers may send before it is read is limited, for all of them
// and for strangers.
func TestBudget(t *testing.T) {
	t.Parallel()
	b := &budget{}
	stranger, member := &scope{budget: b, stranger: true}, &scope{budget: b}
	spans := 0
	for {
		s, _ := stranger.BeginSpan()
		if s.ReserveMemory(256<<10, 255) != nil {
			break
		}
		defer s.Done()
		spans++
	}
	require.Equal(t, maxStrangerMemory/(256<<10), spans)
	require.Error(t, stranger.ReserveMemory(1, 128))
	require.NoError(t, member.ReserveMemory(10<<20, 128))
	require.Error(t, member.ReserveMemory(10<<20, 128), "a window may grow only while half of the budget stays free")
	require.NoError(t, member.ReserveMemory(10<<20, 255))
	member.ReleaseMemory(1 << 30)
	require.Equal(t, maxStrangerMemory, b.all)
	require.Zero(t, member.taken)
	require.NoError(t, member.ReserveMemory(5, 255))
	member.Done()
	member.Done()
	require.Equal(t, maxStrangerMemory, b.all)
}

// A peer that opens silent streams, or sends another peer's identity or
// malformed messages, loses each stream as soon as that is noticed.
func TestHostileStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, lb := alone(t, p2p.HandlerFunc(func(context.Context, *p2p.Stream) error {
			t.Error("served")
			return nil
		}))
		liar := identity.New()
		s, err := newSecurity(liar)
		require.NoError(t, err)
		connect := func() *yamux.Session {
			x, y := circuits(liar.Remote(), b.Identity())
			taken := make(chan error, 1)
			go func() { taken <- taker{lb}.Take(t.Context(), y) }()
			session, err := s.secure(t.Context(), x, false)
			require.NoError(t, err)
			require.NoError(t, <-taken)
			return session
		}
		const q = "\x13/multistream/1.0.0\n\x09/sdp2p/1\n"
		victim := identity.New().Remote().Bytes()
		for said, within := range map[string]time.Duration{
			"":         firstFrame,
			q:          firstFrame,
			q + "\x07": 0,
			q + "\x00" + string(victim[:]) + "\x01\x00\x00\x00\x00\x00\x00\x00\x80":    0,
			q + "\x00" + string(make([]byte, 32)) + "\xff\xff\xff\xff\xff\xff\xff\xff": 0,
			"no multistream": firstFrame,
		} {
			session := connect()
			stream, err := session.OpenStream(t.Context())
			require.NoError(t, err)
			_, err = io.WriteString(stream, said)
			require.NoError(t, err)
			began := time.Now()
			_, err = io.Copy(io.Discard, stream)
			require.Error(t, err, said)
			require.LessOrEqual(t, time.Since(began), within, said)
			session.Close()
		}
		session := connect()
		for range maxStrange + 8 { // those beyond the limit are refused at once
			_, err := session.OpenStream(t.Context())
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Equal(t, maxStrange, session.NumStreams())
		session.Close()
	})
}

// As a hook, the listener fulfills the contract. The contract of p2p.Listener
// cannot be tested in the same way, since the listener makes no connection by
// itself.
func TestConformance(t *testing.T) {
	p2ptest.TestHook(t, func(*testing.T) p2p.Hook {
		return struct{ p2p.Hook }{New(Config{Relays: relay.New(relay.Config{})})}
	})
}

// Without a relay client, the listener cannot be used.
func TestConfig(t *testing.T) {
	_, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{New(Config{})}})
	require.ErrorContains(t, err, "Config.Relays")
}
