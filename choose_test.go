package p2p_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// dials returns a dial function for a fakeListener, which returns s or fails
// with err.
func dials(s *fakeStream, err error) func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
	return func(_ context.Context, to identity.RemoteIdentity, _ []p2p.Candidate) (p2p.RawStream, error) {
		if err != nil {
			return nil, &p2p.DialError{Peer: to, Err: err}
		}
		return s, nil
	}
}

// A listener that has called Choose gets every stream that is to be opened, for
// as long as it runs.
func TestChoose(t *testing.T) {
	one, _ := newFakeStreams()
	two, _ := newFakeStreams()
	two.version = 1
	udp := &fakeListener{fakeHook: fakeHook{name: "udp"}, dial: dials(one, nil)}
	lanes := &fakeListener{fakeHook: fakeHook{name: "lanes"}, dial: dials(two, nil)}
	node := start(t, p2p.Config{}, lanes, udp)
	id := newID()
	require.NoError(t, udp.scope.Discovered(id, nil, []p2p.Candidate{direct("192.0.2.1:1")}))
	peer, _ := node.Peer(id)
	open := func(ctx context.Context) (int, error) {
		s, err := peer.NewStream(ctx)
		if err != nil {
			return 0, err
		}
		defer s.Reset(p2p.ErrCanceled)
		return s.Version(), nil
	}
	wantVersion := func(want int, ctx context.Context) {
		t.Helper()
		v, err := open(ctx)
		require.NoError(t, err)
		require.Equal(t, want, v)
	}
	wantVersion(1, t.Context()) // the listeners are asked in their order
	lanes.scope.Choose(func(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate, rest func(context.Context) (p2p.RawStream, error)) (p2p.RawStream, error) {
		require.Len(t, via, 1)
		require.Equal(t, id, to)
		if p2p.IsBulk(ctx) {
			return lanes.Dial(ctx, to, via)
		}
		return rest(ctx)
	})
	wantVersion(2, t.Context())
	wantVersion(1, p2p.Bulk(t.Context()))

	udp.dial = dials(nil, errTest)
	_, err := open(t.Context())
	require.ErrorIs(t, err, errTest)
	var failed *p2p.DialError
	require.ErrorAs(t, err, &failed)
	require.NoError(t, lanes.scope.Discovered(id, nil, []p2p.Candidate{direct("192.0.2.1:1")}))
	require.NoError(t, node.Unregister(t.Context(), udp))
	_, err = open(t.Context())
	require.ErrorIs(t, err, p2p.ErrNoListener)
	require.NoError(t, node.Register(t.Context(), udp))
	udp.dial = dials(one, nil)
	require.NoError(t, udp.scope.Discovered(id, nil, []p2p.Candidate{direct("192.0.2.1:1")}))
	peer, _ = node.Peer(id)
	require.NoError(t, node.Unregister(t.Context(), lanes))
	wantVersion(2, p2p.Bulk(t.Context()))
}

// Others dials with every listener except the one that calls it.
func TestOthers(t *testing.T) {
	near, _ := newFakeStreams()
	udp := &fakeListener{fakeHook: fakeHook{name: "udp"}}
	lanes := &fakeListener{fakeHook: fakeHook{name: "lanes"}, dial: dials(near, nil)}
	node := start(t, p2p.Config{}, lanes)
	id := newID()
	require.ErrorIs(t, lanes.scope.Others(t.Context(), id), p2p.ErrNoCandidate)
	require.NoError(t, lanes.scope.Discovered(id, nil, []p2p.Candidate{direct("192.0.2.1:1")}))
	require.ErrorIs(t, lanes.scope.Others(t.Context(), id), p2p.ErrNoListener)
	require.NoError(t, node.Register(t.Context(), udp))
	require.ErrorIs(t, lanes.scope.Others(t.Context(), id), errTest)
	udp.dial = dials(near, nil)
	require.NoError(t, lanes.scope.Others(t.Context(), id))
	require.EqualValues(t, 1, near.ends.Load())

	require.Empty(t, lanes.scope.Links(id))
	conn := udp.connect(t, id)
	require.Equal(t, []p2p.Link{{Listener: "udp", Conn: conn}}, lanes.scope.Links(id))
}

func TestLanePort(t *testing.T) {
	for value, want := range map[string]uint16{"": 0, "7373": 7373, "0": 0, "65535": 65535, "65536": 0, "-1": 0, "x": 0, "+1": 0} {
		require.Equal(t, want, p2p.LanePort(map[string]string{p2p.KeyLane: value}), value)
	}
	require.Zero(t, p2p.LanePort(nil))
}
