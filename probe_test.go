package p2p_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A fakeProber is a fakeListener that tells which node answers at an address.
type fakeProber struct {
	fakeListener
	at map[netip.AddrPort]identity.RemoteIdentity

	mu    sync.Mutex
	asked []netip.AddrPort
}

func newFakeProber(name string) *fakeProber {
	return &fakeProber{
		fakeListener: fakeListener{fakeHook: fakeHook{name: name}},
		at:           map[netip.AddrPort]identity.RemoteIdentity{},
	}
}

func (l *fakeProber) Probe(ctx context.Context, id identity.RemoteIdentity, at []netip.AddrPort) (netip.AddrPort, error) {
	l.mu.Lock()
	l.asked = append(l.asked, at...)
	l.mu.Unlock()
	for _, a := range at {
		if l.at[a] == id {
			return a, nil
		}
	}
	if id == l.scope.Node().Identity() { // the node does not probe itself
		return netip.AddrPort{}, p2p.ErrSelf
	}
	<-ctx.Done()
	return netip.AddrPort{}, ctx.Err()
}

func port(n int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("10.0.0.1:%d", n)) }

// A hook can probe whether the holder of a key is at an address. Probing fails
// without a listener that supports it, and for a peer that was revoked.
func TestProbe(t *testing.T) {
	hook := &fakeHook{name: "hook"}
	node := start(t, p2p.Config{}, hook, &fakeListener{fakeHook: fakeHook{name: "other"}})
	id := newID()
	_, err := hook.scope.Probe(t.Context(), id, port(1))
	require.ErrorIs(t, err, p2p.ErrNoProber)

	one, two := newFakeProber("one"), newFakeProber("two")
	two.at[port(1)] = node.Identity()
	two.at[port(2)] = id
	require.NoError(t, node.Register(t.Context(), one))
	require.NoError(t, node.Register(t.Context(), two))
	two.connect(t, id) // so that two is asked first
	got, err := hook.scope.Probe(t.Context(), id, port(1), port(2), port(0), netip.MustParseAddrPort("224.0.0.1:1"), netip.AddrPort{})
	require.NoError(t, err)
	require.Equal(t, port(2), got)
	require.Equal(t, []netip.AddrPort{port(1), port(2)}, two.asked)
	require.Empty(t, one.asked)

	node.Revoke(id)
	_, err = hook.scope.Probe(t.Context(), id, port(2))
	require.ErrorIs(t, err, p2p.ErrRevoked)
	require.NoError(t, node.Unregister(t.Context(), hook))
	_, err = hook.scope.Probe(t.Context(), newID(), port(2))
	require.ErrorIs(t, err, p2p.ErrStopped)
}

// Whatever is announced, a node probes at most 20 addresses a second that do
// not answer, each of them once in 3 s, and each identity once a second.
// Addresses that answer do not count against the 20.
func TestProbeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook, l := &fakeHook{name: "hook"}, newFakeProber("prober")
		node := start(t, p2p.Config{}, hook, l)
		ask := func(id identity.RemoteIdentity, at ...netip.AddrPort) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := hook.scope.Probe(ctx, id, at...)
			return err
		}
		many := make([]netip.AddrPort, 20)
		for i := range many {
			many[i] = port(1 + i)
		}
		one := newID()
		began := time.Now()
		require.ErrorIs(t, ask(one, many...), context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
		require.Len(t, l.asked, 8)
		require.ErrorIs(t, ask(newID(), many[:8]...), p2p.ErrBusy, "each of the addresses was probed")
		time.Sleep(2 * time.Second)
		require.ErrorIs(t, ask(newID(), many[:8]...), context.DeadlineExceeded)

		time.Sleep(time.Minute)
		l.asked = nil
		var running sync.WaitGroup
		for i := range 1000 { // strangers, within 10 s
			running.Go(func() { ask(newID(), port(1000+2*i), port(1001+2*i)) })
			time.Sleep(10 * time.Millisecond)
		}
		running.Wait()
		require.LessOrEqual(t, len(l.asked), 20+10*20)
		require.Greater(t, len(l.asked), 10*20)

		time.Sleep(time.Minute)
		friend, busy := newID(), 0
		l.at[port(9)] = friend
		for range 100 { // in 10 s
			if ask(friend, port(9)) != nil {
				busy++
			}
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, 90, busy)
		l.connect(t, one)
		require.ErrorIs(t, ask(one), context.DeadlineExceeded, "a connected peer can be probed without an address")
		require.ErrorIs(t, ask(newID()), p2p.ErrBusy)
		require.ErrorIs(t, ask(node.Identity(), port(9)), p2p.ErrSelf)

		for i := range 5000 { // the record of probes is bounded
			go ask(newID(), port(1000+i))
		}
		time.Sleep(time.Minute)
		require.NoError(t, ask(friend, port(9)))
	})
}
