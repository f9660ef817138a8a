package relay

import (
	"context"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	relayserver "github.com/sdp2p/p2p/relay/server"
)

// The client leaves a relay that is no longer on the list, whether or not there
// is a reservation, and does not connect to it again, even where the relay is
// still referred to. A relay whose addresses have changed counts as another
// one.
func TestStruck(t *testing.T) {
	s, list := always(newScript), entries(3)
	c := bare(t, s, list...)
	before := slices.Clone(c.servers)
	for _, r := range before {
		_, err := r.connected(t.Context())
		require.NoError(t, err)
	}
	moved := list[1]
	moved.Addrs = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.99:1")}
	require.NoError(t, c.Set([]Server{list[0], moved}))
	require.Equal(t, []identity.RemoteIdentity{list[0].Identity}, s.open())
	for _, r := range before[1:] {
		_, err := r.connected(t.Context())
		require.ErrorIs(t, err, ErrNotListed)
	}
	_, err := c.servers[1].connected(t.Context())
	require.NoError(t, err)
	require.Equal(t, "192.0.2.99:1", s.sessions[3].addr.String())
	require.Error(t, c.Set([]Server{{Identity: list[0].Identity, Addrs: []netip.AddrPort{netip.MustParseAddrPort("[100::1]:1")}}}))
}

// A dial that the caller has given up does not change the relay's state.
func TestCanceledDial(t *testing.T) {
	dialing := make(chan struct{})
	s := &seam{dial: func(ctx context.Context, _ identity.RemoteIdentity) (*script, error) {
		close(dialing)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}}
	c := bare(t, s, entries(1)...)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-dialing; cancel() }()
	_, err := c.servers[0].connected(ctx)
	require.Error(t, err)
	require.Equal(t, Off, c.States()[0].State)
	require.NoError(t, c.States()[0].Err)
	require.False(t, c.servers[0].refused())
}

// A dial that waits for another one to the same relay fails with the reason
// that the relay is down, not only with a time-out.
func TestDialBehindAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seam{dial: func(ctx context.Context, _ identity.RemoteIdentity) (*script, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}}
		c := bare(t, s, entries(1)...)
		first := make(chan error)
		go func() {
			_, err := c.servers[0].connected(t.Context())
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), answerIn-time.Second)
		defer cancel()
		_, err := c.servers[0].connected(ctx)
		require.ErrorIs(t, err, errDown)
		require.ErrorIs(t, <-first, errDown)
	})
}

// While the network was down, relays have replaced each other. Once it is back,
// there are as many reservations as before, in different zones, and other
// connections are closed once they are idle.
func TestReservationsAreTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Bool
		s := &seam{dial: func(context.Context, identity.RemoteIdentity) (*script, error) {
			if !back.Load() {
				return nil, errUnreachable
			}
			return newScript(), nil
		}}
		list := entries(5)
		for i := range list {
			list[i].Zone = []string{"one", "one", "two", "two", "one"}[i]
		}
		c := bare(t, s, list...)
		k := newKeeper(c.ctx, c)
		k.set(slices.Clone(c.servers))
		time.Sleep(2 * time.Minute)
		k.mu.Lock()
		require.Len(t, k.keeping, 5)
		k.mu.Unlock()
		back.Store(true)
		time.Sleep(5 * time.Minute)
		zones := map[string]int{}
		for _, st := range c.States() {
			if st.State == Ready {
				zones[st.Server.Zone]++
			}
		}
		require.Equal(t, map[string]int{"one": 1, "two": 1}, zones)
		require.Len(t, s.open(), Reservations)
		k.stop()
	})
}

// If a relay is lost, its clients come back within a minute, and not all at
// once, as long as they can be called elsewhere; a client that cannot be comes
// back at once.
func TestComingBack(t *testing.T) {
	for _, relays := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			var early, dials int
			const runs = 20
			for range runs {
				s := always(newScript)
				c := bare(t, s, entries(relays)...)
				k := newKeeper(c.ctx, c)
				k.set(slices.Clone(c.servers))
				synctest.Wait()
				require.Len(t, s.open(), relays)
				s.sessions[0].cancel()
				time.Sleep(2 * time.Second)
				early += len(s.open()) - (relays - 1)
				time.Sleep(comeBack)
				require.Len(t, s.open(), relays)
				dials += len(s.sessions)
				k.stop()
			}
			if relays == 1 {
				require.Equal(t, runs, early)
			} else {
				require.Less(t, early, runs/2, "fewer than half may come within 2 s")
			}
			require.Equal(t, runs*(relays+1), dials)
		})
	}
}

// If all relays of a long list are lost, their clients come back within a
// minute, and not all at once: all of them together would be more than the
// relays accept.
func TestComingBackToMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var early int
		const runs = 20
		for range runs {
			s := always(newScript)
			c := bare(t, s, entries(shortList+1)...)
			k := newKeeper(c.ctx, c)
			k.set(slices.Clone(c.servers[:Reservations]))
			synctest.Wait()
			require.Len(t, s.open(), Reservations)
			for _, one := range s.sessions {
				one.cancel()
			}
			time.Sleep(2 * time.Second)
			early += len(s.open())
			time.Sleep(comeBack)
			require.Len(t, s.open(), Reservations)
			require.Len(t, s.sessions, 2*Reservations)
			k.stop()
		}
		require.Less(t, early, runs/2, "fewer than half may come within 2 s")
	})
}

// After its end, the keeper does not replace a relay by another one.
func TestKeeperStops(t *testing.T) {
	s := &seam{dial: func(context.Context, identity.RemoteIdentity) (*script, error) { return nil, errUnreachable }}
	c := bare(t, s, entries(8)...)
	k := newKeeper(c.ctx, c)
	k.mu.Lock()
	k.chosen = slices.Clone(c.servers)
	k.mu.Unlock()
	k.stop()
	k.failed()
	require.Empty(t, k.keeping)
}

// Even if this node's clock is a day off, a reservation is renewed in time.
func TestLease(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		time.Hour: time.Hour, 2 * time.Minute: 2 * time.Minute, 119 * time.Minute: 119 * time.Minute,
		25 * time.Hour: 30 * time.Minute, -23 * time.Hour: 30 * time.Minute, 0: 30 * time.Minute, time.Second: 30 * time.Minute,
	} {
		require.Equal(t, want, leaseOf(left), left)
		require.LessOrEqual(t, leaseOf(left)/2, time.Hour)
	}
}

// A relay that announces its shutdown over and over is left once.
func TestLeaveFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		foreign := identity.New().Remote()
		s := always(func() *script {
			made := newScript()
			made.access = func(theirs net.Conn) {
				if _, err := circuit.ReadHello(theirs); err != nil {
					return
				}
				b := circuit.Answer{Observed: netip.MustParseAddrPort("192.0.2.1:1"), Left: circuit.Unlimited}.Append(nil)
				for range 1000 {
					b = circuit.Leave{After: time.Hour, Instead: []identity.RemoteIdentity{foreign}}.Append(b)
				}
				_, _ = theirs.Write(b)
			}
			return made
		})
		c := bare(t, s, entries(2)...)
		failed := 0
		c.servers[0].failed = func() { failed++ }
		up, err := c.servers[0].connected(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 1, failed)
		require.Equal(t, time.Duration(math.MaxInt64), c.servers[0].distance())
		time.Sleep(leaveJitter)
		require.True(t, up.gone())
		require.Equal(t, Off, c.States()[0].State)
		require.NoError(t, c.States()[0].Err)
		for _, made := range s.sessions {
			require.NotEqual(t, foreign, made.relay, "a relay that is not on the list must not be used")
		}
		require.Len(t, s.sessions, 1)
	})
}

// An unused connection is closed, which does not count as a failure.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := always(newScript)
		c := bare(t, s, entries(1)...)
		_, err := c.servers[0].connected(t.Context())
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		require.Empty(t, s.open())
		require.Equal(t, Off, c.States()[0].State)
		require.NoError(t, c.States()[0].Err)
	})
}

// New tokens are shown on the existing connection, which stays open: the relay
// ends the stream on which the former ones were shown before it answers.
func TestOtherTokens(t *testing.T) {
	r := startPaid(t, relayserver.Limits{})
	a := start(t, Config{Only: true}, r.entry())
	require.NoError(t, a.relays.SetTokens(r.pass(t, a.Identity(), 1)))
	a.ready(t, 1)
	s := a.relays.servers[0]
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	for i := range 20 {
		up.mu.Lock()
		before := up.access
		up.mu.Unlock()
		require.NoError(t, a.relays.SetTokens(r.pass(t, a.Identity(), byte(2+i))))
		eventually(t, func() bool {
			up.mu.Lock()
			defer up.mu.Unlock()
			return up.access != before || up.gone()
		}, "shown")
		require.False(t, up.gone(), i)
	}
	require.Equal(t, a.relays.edition(), up.shown.Load())
	require.Equal(t, Ready, a.state(0).State)
}
