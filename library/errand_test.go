package library_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// TestErrandsPause: frequent changes cost few tunnels, so that the app's
// tunnels to the same member have room; yet they are told soon.
func TestErrandsPause(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		link := network.Link(a.id.Remote(), b.id.Remote())
		before := link.Stats().Streams
		const more = 40
		for range more {
			a.admit(t, newDevice())
			synctest.Wait()
			time.Sleep(50 * time.Millisecond)
		}
		pass(2 * time.Second)
		require.Len(t, b.members(), 2+more)
		require.LessOrEqual(t, link.Stats().Streams-before, 12)
		require.NoError(t, a.echo(t, b))
		require.NoError(t, b.echo(t, a))
	})
}

// TestErrandAfterReturn: an errand that has failed for hours is repeated as
// soon as the member has been away and is back.
func TestErrandAfterReturn(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		var full atomic.Bool
		b.cfg.Changed = func(library.Record) error {
			if full.Load() {
				return errTest
			}
			return nil
		}
		running(t, network, a, b)
		full.Store(true)
		a.admit(t, newDevice())
		pass(5*time.Hour + 20*time.Minute) // it is tried hourly by now, last 17 minutes ago
		full.Store(false)
		pass(time.Minute)
		require.Len(t, b.members(), 2)
		link := network.Link(a.Identity(), b.Identity())
		link.Cut()
		pass(5 * time.Second)
		link.Restore()
		pass(5 * time.Second)
		require.Len(t, b.members(), 3)
	})
}

// TestNotHeard: a member that sends its statements but does not read ours has
// not learned them: it is told again.
func TestNotHeard(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		of := newCharter(t, a)
		of.join(b, library.RoleMember)
		told := 0
		b.startAnswerer(t, network, of.record(), a, func(c *tunnel.Conn) {
			told++
			c.Abort(errors.New("cut"))
		})
		a.start(t, network, p2p.Config{})
		a.load(t, of.record())
		pass(time.Second)
		require.Equal(t, 1, told)
		c := b.route(t, a, "sdp2p/roster")
		_, err := c.Write([]byte{0, 0, 0, 0})
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.NoError(t, err)
		c.Abort(errors.New("cut"))
		pass(2 * time.Minute)
		require.Equal(t, 2, told)
	})
}

// TestSecretAfterItsStatement: a new secret waits for an exchange with the
// member that is under way. The member would refuse it before it knows the
// statement about it, and be told again only a minute later.
func TestSecretAfterItsStatement(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		done := a.lib.Take(b.own())
		require.NoError(t, a.lib.Rotate())
		pass(5 * time.Second)
		require.EqualValues(t, 1, b.lib.Record().Number)
		done()
		pass(5 * time.Second)
		require.EqualValues(t, 2, b.lib.Record().Number)
	})
}

// TestToldOnce: a member that was told of a change is not told again.
func TestToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		link := network.Link(a.id.Remote(), b.id.Remote())
		streams := link.Stats().Streams
		a.admit(t, newDevice())
		pass(time.Second)
		require.Len(t, b.members(), 3)
		require.Equal(t, streams+1, link.Stats().Streams)
		records := len(a.records()) + len(b.records())
		pass(48 * time.Hour)
		require.Equal(t, streams+1, link.Stats().Streams)
		require.Equal(t, records, len(a.records())+len(b.records()))
		require.NoError(t, a.lib.Block(newDevice().own()))
		pass(time.Hour)
		require.Equal(t, streams+1, link.Stats().Streams, "a block is not told to other devices")
	})
}

// TestNewsMeanwhile: a change that comes up while a member is being told of
// another one is told next.
func TestNewsMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		require.NoError(t, a.echo(t, b)) // so that they stay connected
		network.Link(a.id.Remote(), b.id.Remote()).SetDelay(50 * time.Millisecond)
		for after := time.Duration(0); after < 10; after++ {
			a.admit(t, newDevice())
			time.Sleep(after * 50 * time.Millisecond)
			a.admit(t, newDevice())
			pass(10 * time.Second)
			require.Equal(t, names(a.members()), names(b.members()), after)
		}
	})
}

// TestUntoldIsKept: a change that was not told before a restart is told after
// it.
func TestUntoldIsKept(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		b.stop(t)
		pass(time.Second)
		m := newDevice()
		a.admit(t, m)
		kept := a.records()
		a.stop(t)
		r := b.lib.Record()
		b.start(t, network, p2p.Config{})
		b.load(t, r)
		a.start(t, network, p2p.Config{})
		a.load(t, kept[len(kept)-1])
		pass(time.Minute)
		require.Contains(t, b.members(), m.own())
	})
}

// TestIntroduced: a member that one device adds becomes known to all over their
// tunnels, and a member that was away learns of it when it is back.
func TestIntroduced(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, late, c := newDevice(), newDevice(), newDevice(), newDevice()
		r := running(t, network, a, b, late).record()
		late.stop(t)
		c.start(t, network, p2p.Config{Metadata: map[string]string{"name": "Carol's"}})
		pass(time.Second)
		added := time.Now()
		c.join(t, a, library.RoleMember)
		pass(time.Second)
		got, ok := b.lib.Roster().Member(c.own())
		require.True(t, ok)
		require.Equal(t, library.Member{
			Instance: c.own(), Node: c.id.Remote(), Name: "Carol's", Role: library.RoleMember,
			Added: time.Unix(added.Unix(), 0), By: a.own(),
		}, got)
		require.NoError(t, b.echo(t, c))
		require.NoError(t, c.echo(t, b))
		a.stop(t)
		late.start(t, network, p2p.Config{})
		late.load(t, r)
		pass(5 * time.Minute) // some errands were tried too early
		know(t, []*device{a, b, late, c}...)
		require.NoError(t, late.echo(t, c))
	})
}

// TestHandOutStalls: a member that does not answer delays no other.
func TestHandOutStalls(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		stalls := newDevices(5)
		of := newCharter(t, a)
		of.join(b, library.RoleMember)
		for _, d := range stalls {
			of.join(d, library.RoleMember)
		}
		gone := newDevice()
		of.join(gone, library.RoleMember)
		var opened []*atomic.Int32
		for _, d := range stalls {
			opened = append(opened, d.startDeaf(t, network, of.record(), a))
		}
		of.run(network, a, b)
		for _, n := range opened {
			require.EqualValues(t, 1, n.Load())
		}
		require.NoError(t, a.remove(gone))
		pass(time.Second)
		sameSecret(t, a, b)
		require.False(t, slices.Contains(b.members(), gone.own()))
	})
}

// TestExchangeAgain: an exchange that failed is tried again after a minute.
func TestExchangeAgain(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		running(t, network, a, b)
		first := b.lib
		for range 61 {
			b.add(t)
		}
		full := newCharter(t, b)
		full.rest.Former = []library.Former{{Secret: library.NewSecret(), Until: time.Now().Add(30 * time.Second)}}
		b.load(t, full.record())
		b.lib = first
		pass(time.Second)
		require.NoError(t, a.lib.Rotate())
		pass(10 * time.Second)
		require.NotEqual(t, a.lib.Record().Secret, b.lib.Record().Secret, "b has no room for another secret")
		require.Equal(t, a.lib.Record().Statements, b.lib.Record().Statements)
		pass(90 * time.Second)
		sameSecret(t, a, b)
	})
}
