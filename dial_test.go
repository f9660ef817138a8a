package p2p_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

var errRefusedConn = errors.New("connection refused")

// fails returns a dial function that fails, with one attempt for each candidate
// of the given kind.
func fails(kind p2p.CandidateKind, cause error) func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
	return func(_ context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
		failed := &p2p.DialError{Peer: to}
		for _, c := range via {
			if c.Kind == kind {
				failed.Attempts = append(failed.Attempts, p2p.Attempt{Candidate: c, Err: cause, Took: time.Second})
			}
		}
		return nil, failed
	}
}

// succeeds returns a dial function that succeeds, and stores the candidates
// that it was given in via.
func succeeds(via *[]p2p.Candidate) func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
	return func(_ context.Context, _ identity.RemoteIdentity, candidates []p2p.Candidate) (p2p.RawStream, error) {
		near, _ := newFakeStreams()
		*via = append([]p2p.Candidate{}, candidates...)
		return near, nil
	}
}

func TestDialWithoutListener(t *testing.T) {
	mdns := &fakeHook{name: "mdns"}
	node := start(t, p2p.Config{}, mdns)
	id := newID()
	require.NoError(t, mdns.scope.Discovered(id, nil, []p2p.Candidate{direct("192.0.2.1:1")}))
	peer, _ := node.Peer(id)
	_, err := peer.NewStream(t.Context())
	require.ErrorIs(t, err, p2p.ErrNoListener)
	require.EqualError(t, err, "p2p: cannot reach "+id.String()+": no listener is registered that could reach a peer")
	var failed *p2p.DialError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, id, failed.Peer)
	require.Empty(t, failed.Attempts)
}

func TestDialWithoutCandidate(t *testing.T) {
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{}, l)
	id := newID()
	require.NoError(t, l.scope.Discovered(id, nil, nil))
	peer, _ := node.Peer(id)
	_, err := peer.Open(t.Context(), "echo")
	require.ErrorIs(t, err, p2p.ErrNoCandidate)
	require.NoError(t, l.scope.Expired(id)) // nor does a peer that has expired
	_, err = peer.Open(t.Context(), "echo")
	require.ErrorIs(t, err, p2p.ErrNoCandidate)

	var via []p2p.Candidate // a connected peer needs no candidate
	l.dial = succeeds(&via)
	l.connect(t, id)
	s, err := peer.Open(t.Context(), "echo")
	require.NoError(t, err)
	require.Equal(t, "echo", s.Route())
	s.Reset(p2p.ErrCanceled)
}

func TestDialTriesEveryListener(t *testing.T) {
	quic := &fakeListener{fakeHook: fakeHook{name: "quic"}, dial: fails(p2p.Direct, errRefusedConn)}
	tor := &fakeListener{fakeHook: fakeHook{name: "tor"}, dial: fails(p2p.Relay, errTest)}
	plain := &fakeListener{fakeHook: fakeHook{name: "plain"}, dial: func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		return nil, errors.ErrUnsupported
	}}
	node := start(t, p2p.Config{}, quic, plain, tor)
	id, relay := newID(), newID()
	require.NoError(t, quic.scope.Discovered(id, nil, []p2p.Candidate{
		direct("192.0.2.1:1"), direct("[2001:db8::1]:2"), {Kind: p2p.Relay, Relay: relay},
	}))
	peer, _ := node.Peer(id)
	_, err := peer.NewStream(t.Context())
	var failed *p2p.DialError
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Attempts, 3)
	require.Equal(t, direct("192.0.2.1:1").Addr, failed.Attempts[0].Candidate.Addr)
	require.Equal(t, []string{"quic"}, failed.Attempts[0].Candidate.Sources)
	for _, cause := range []error{errRefusedConn, errTest, errors.ErrUnsupported} {
		require.ErrorIs(t, err, cause)
	}
	for _, part := range []string{
		"p2p: cannot reach " + id.String(), "direct 192.0.2.1:1: connection refused", "direct [2001:db8::1]:2: connection refused",
		"relay " + relay.String() + ": " + errTest.Error(), errors.ErrUnsupported.Error(),
	} {
		require.Contains(t, err.Error(), part)
	}
	require.NotContains(t, err.Error(), "\n")

	var via []p2p.Candidate
	tor.dial = succeeds(&via) // only the last listener can reach the peer
	s, err := peer.NewStream(t.Context())
	require.NoError(t, err)
	require.Len(t, via, 3)
	s.Reset(p2p.ErrCanceled)
}

func TestDialPrefersTheConnectedListener(t *testing.T) {
	var asked []string
	note := func(name string) func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		return func(_ context.Context, to identity.RemoteIdentity, _ []p2p.Candidate) (p2p.RawStream, error) {
			asked = append(asked, name)
			return nil, &p2p.DialError{Peer: to, Err: errTest}
		}
	}
	first := &fakeListener{fakeHook: fakeHook{name: "first"}, dial: note("first")}
	second := &fakeListener{fakeHook: fakeHook{name: "second"}, dial: note("second")}
	node := start(t, p2p.Config{}, first, second)
	id := newID()
	require.NoError(t, first.scope.Discovered(id, nil, []p2p.Candidate{direct("192.0.2.1:1")}))
	conn := second.connect(t, id)
	peer, _ := node.Peer(id)
	_, err := peer.NewStream(t.Context())
	require.ErrorIs(t, err, errTest)
	require.Equal(t, []string{"second", "first"}, asked)
	require.NoError(t, second.scope.Disconnected(id, conn))
	asked = nil
	_, err = peer.NewStream(t.Context())
	require.ErrorIs(t, err, errTest)
	require.Equal(t, []string{"first", "second"}, asked)
}

func TestDialEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
		l.dial = func(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
			<-ctx.Done()
			return nil, &p2p.DialError{Peer: to, Attempts: []p2p.Attempt{{Candidate: via[0], Err: ctx.Err()}}}
		}
		never := &fakeListener{fakeHook: fakeHook{name: "never"}}
		never.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
			panic("there is no time left for another listener")
		}
		node := start(t, p2p.Config{}, l, never)
		id := newID()
		require.NoError(t, l.scope.Discovered(id, nil, []p2p.Candidate{direct("192.0.2.1:1")}))
		peer, _ := node.Peer(id)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := peer.NewStream(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "direct 192.0.2.1:1")
		_, err = peer.NewStream(ctx) // the context is done from the start: no listener is asked
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var failed *p2p.DialError
		require.ErrorAs(t, err, &failed)
		require.Empty(t, failed.Attempts)
	})
}

// TestOpenEndsWithItsContext opens a route over a connection that accepts no
// bytes.
func TestOpenEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, peer := pair(t, p2p.Config{})
		near, far := newFakeStreams()
		_, err := near.Write(make([]byte, fakeRoom))
		require.NoError(t, err)
		l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
			return near, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = peer.Open(ctx, "echo")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, readError(far), p2p.ErrCanceled)
	})
}

func TestOpenRefusesBadRoutes(t *testing.T) {
	_, l, peer := pair(t, p2p.Config{})
	l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		panic("there is nothing to dial for")
	}
	for _, route := range []string{"", strings.Repeat("x", 256), "\xff", "a\nb"} {
		_, err := peer.Open(t.Context(), route)
		require.ErrorContains(t, err, "p2p: route ")
	}
}

func TestPeerDescribesItself(t *testing.T) {
	slow := &fakeListener{fakeHook: fakeHook{name: "slow"}}
	fast := &fakeListener{fakeHook: fakeHook{name: "fast"}}
	node := start(t, p2p.Config{}, slow, fast)
	id := newID()
	relayed := p2p.Path{Kind: p2p.Relay, Relay: newID(), Remote: addr("192.0.2.9:9")}
	near := p2p.Path{Kind: p2p.Direct, Dialed: true, Remote: addr("192.0.2.1:1")}
	require.NoError(t, slow.scope.Connected(id, &fakeConn{path: relayed, rtt: time.Second}))
	peer, _ := node.Peer(id)
	require.Equal(t, id.String(), peer.String())
	require.Equal(t, relayed, peer.Info().Path)
	since := time.Now().Add(-time.Hour)
	require.NoError(t, fast.scope.Connected(id, &openedConn{fakeConn{path: near}, since}))
	info := peer.Info()
	require.Equal(t, []p2p.Connection{
		{Listener: "fast", Path: near, Opened: since}, {Listener: "slow", Path: relayed, RTT: time.Second},
	}, info.Connections)
	require.Equal(t, near, info.Path)
	require.NoError(t, node.Unregister(t.Context(), fast))
	require.Equal(t, time.Second, peer.Info().Connections[0].RTT)

	require.NoError(t, node.Unregister(t.Context(), slow))
	require.False(t, peer.Available() || peer.Connected() || peer.Verified())
	require.Empty(t, peer.Name())
	info = peer.Info()
	require.ErrorIs(t, info.Unreachable, p2p.ErrNoListener)
	require.Equal(t, p2p.PeerInfo{Identity: id, LastSeen: info.LastSeen, Unreachable: info.Unreachable}, info)
}

// An openedConn knows when it was opened.
type openedConn struct {
	fakeConn
	opened time.Time
}

func (c *openedConn) Opened() time.Time { return c.opened }

func TestCandidateTexts(t *testing.T) {
	relay := newID()
	require.Equal(t, "direct 192.168.1.7:7373", direct("192.168.1.7:7373").String())
	require.Equal(t, "manual [fd00::1]:1", p2p.Candidate{Kind: p2p.Manual, Addr: netip.MustParseAddrPort("[fd00::1]:1")}.String())
	require.Equal(t, "relay "+relay.String(), p2p.Candidate{Kind: p2p.Relay, Relay: relay}.String())
	require.Equal(t, "CandidateKind(9)", p2p.CandidateKind(9).String())
}

// A fakeReconfirmer remembers which peers it was asked to check.
type fakeReconfirmer struct {
	fakeHook
	asked []identity.RemoteIdentity
}

func (r *fakeReconfirmer) Reconfirm(id identity.RemoteIdentity) { r.asked = append(r.asked, id) }

func TestDialReconfirms(t *testing.T) {
	mdns := &fakeReconfirmer{fakeHook: fakeHook{name: "mdns"}}
	other := &fakeReconfirmer{fakeHook: fakeHook{name: "other"}}
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}, dial: fails(p2p.Direct, errRefusedConn)}
	node := start(t, p2p.Config{}, mdns, l, other)
	id := newID()
	candidates := []p2p.Candidate{direct("192.0.2.1:1")}
	require.NoError(t, mdns.scope.Discovered(id, nil, candidates))
	require.NoError(t, l.scope.Discovered(id, nil, candidates))
	require.NoError(t, other.scope.Discovered(newID(), nil, candidates))
	peer, _ := node.Peer(id)
	_, err := peer.NewStream(t.Context())
	require.ErrorIs(t, err, errRefusedConn)
	require.Equal(t, []identity.RemoteIdentity{id}, mdns.asked)
	require.Empty(t, other.asked, "other has not discovered that peer")

	var via []p2p.Candidate
	l.dial = succeeds(&via)
	s, err := peer.NewStream(t.Context())
	require.NoError(t, err)
	s.Reset(p2p.ErrCanceled)
	require.Len(t, mdns.asked, 1, "a peer that was reached needs no check")
}

// While a later listener dials, an earlier listener that has failed already may
// get a connection with the peer. In that case, the earlier one is asked again,
// once.
func TestDialJoined(t *testing.T) {
	first, second := &fakeListener{fakeHook: fakeHook{name: "first"}}, &fakeListener{fakeHook: fakeHook{name: "second"}}
	node := start(t, p2p.Config{}, first, second)
	id := newID()
	require.NoError(t, second.scope.Discovered(id, nil, []p2p.Candidate{direct("192.0.2.1:1")}))
	peer, _ := node.Peer(id)
	asked := 0
	conn := &fakeConn{}
	var via []p2p.Candidate
	first.dial = func(ctx context.Context, to identity.RemoteIdentity, c []p2p.Candidate) (p2p.RawStream, error) {
		if asked++; asked == 1 {
			return nil, &p2p.DialError{Peer: to}
		}
		return succeeds(&via)(ctx, to, c)
	}
	second.dial = func(_ context.Context, to identity.RemoteIdentity, _ []p2p.Candidate) (p2p.RawStream, error) {
		require.NoError(t, first.scope.Connected(id, conn))
		return nil, &p2p.DialError{Peer: to, Err: errRefusedConn}
	}
	s, err := peer.NewStream(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, asked)
	s.Reset(p2p.ErrCanceled)

	asked = 0
	first.dial = func(_ context.Context, to identity.RemoteIdentity, _ []p2p.Candidate) (p2p.RawStream, error) {
		asked++
		return nil, &p2p.DialError{Peer: to}
	}
	second.dial = fails(p2p.Direct, errRefusedConn)
	_, err = peer.NewStream(t.Context())
	require.ErrorIs(t, err, errRefusedConn)
	require.Equal(t, 1, asked, "the peer was connected before the dial began")

	asked = 0
	require.NoError(t, first.scope.Disconnected(id, conn))
	dial := first.dial
	first.dial = func(ctx context.Context, to identity.RemoteIdentity, c []p2p.Candidate) (p2p.RawStream, error) {
		require.NoError(t, first.scope.Connected(id, conn)) // and the dial fails all the same
		return dial(ctx, to, c)
	}
	_, err = peer.NewStream(t.Context())
	require.ErrorIs(t, err, errRefusedConn)
	require.Equal(t, 1, asked, "the peer was connected before this listener failed")
}

// A failed dial is logged as one line, with each attempt.
func TestDialFailedIsLogged(t *testing.T) {
	var log logBuffer
	l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
	node := start(t, p2p.Config{Logger: log.debug()}, l)
	id := newID()
	l.found(t, id)
	l.dial = func(_ context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
		return nil, &p2p.DialError{Peer: to, Attempts: []p2p.Attempt{
			{Candidate: via[0], Err: errors.New("first")},
			{Candidate: direct("192.0.2.2:2"), Err: errors.New("closed: \x1b[2J\u202egood bye")},
		}}
	}
	peer, _ := node.Peer(id)
	_, err := peer.NewStream(t.Context())
	require.Error(t, err)
	lines := log.lines("level=DEBUG", "dial failed", "peer="+id.String(), "192.0.2.1:1: first", "192.0.2.2:2: closed: ")
	require.Len(t, lines, 1)
	require.NotContains(t, lines[0], "HOSTILE")

	log.b.Reset()
	l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		return nil, errors.New(strings.Repeat("long", 1<<20))
	}
	_, err = peer.NewStream(t.Context())
	require.Error(t, err)
	require.Less(t, len(log.String()), 5000)
}
