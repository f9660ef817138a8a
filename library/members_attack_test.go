package library_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

// Of two devices that are added at once, each comes to know the other.
func TestTwoAddedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, c, d := newDevice(), newDevice(), newDevice()
		running(t, network, library.Record{ID: uuid.New(), Secret: library.NewSecret()}, a)
		c.start(t, network, p2p.Config{})
		d.start(t, network, p2p.Config{})
		rc, rd := a.lib.RecordFor(c.member()), a.lib.RecordFor(d.member())
		c.load(t, rc)
		d.load(t, rd)
		require.NoError(t, a.lib.AddMember(d.member()))
		require.NoError(t, a.lib.AddMember(c.member()))
		pass(24 * time.Hour)
		know(t, a, c, d)
	})
}

// A member cannot make us forget whom we have removed, by naming thousands of instances on one node, each later than the last.
func TestRemovedIsNotFlushed(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.cfg.Limits = plenty
		running(t, network, library.Record{ID: uuid.New(), Secret: library.NewSecret()}, a, b)
		removed := stranger()
		require.NoError(t, a.lib.AddMember(removed))
		require.NoError(t, a.lib.RemoveMember(removed.Instance))
		pass(time.Minute)
		node := identity.New().Remote()
		var since int64
		for range 5 {
			var all []library.Member
			for range 1000 {
				since++
				all = append(all, library.Member{Instance: identity.New().Remote(), Node: node, Since: since})
			}
			b.tell(t, a, all...)
			pass(time.Second)
		}
		b.tell(t, a, removed)
		r := a.lib.Record()
		_, ok := r.Member(removed.Instance)
		require.False(t, ok, "brought back")
	})
}

// Who was removed does not come back by the other key that is the same to the tunnel.
func TestRemovedTwin(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		running(t, network, library.Record{ID: uuid.New(), Secret: library.NewSecret()}, a, b)
		removed := stranger()
		require.NoError(t, a.lib.AddMember(removed))
		require.NoError(t, a.lib.RemoveMember(removed.Instance))
		pass(time.Minute)
		m := removed
		m.Instance = minus(t, removed.Instance)
		b.tell(t, a, m)
		r := a.lib.Record()
		_, ok := r.Member(m.Instance)
		require.False(t, ok)
	})
}

// A device that is paired again replaces its old instance everywhere, also where a clock has gone back meanwhile.
func TestAgainUnderAClockThatWentBack(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		running(t, network, library.Record{ID: uuid.New(), Secret: library.NewSecret()}, a, b)
		m := stranger()
		m.Since = time.Now().Unix() + 3600
		require.NoError(t, a.lib.AddMember(m))
		pass(time.Minute)
		again := library.Member{Instance: identity.New().Remote(), Node: m.Node}
		require.NoError(t, a.lib.AddMember(again))
		pass(24 * time.Hour)
		r := b.lib.Record()
		_, ok := r.Member(again.Instance)
		require.True(t, ok)
	})
}

// A member cannot take another one out of our list, by a time that is far ahead.
func TestNoEviction(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b, c := newDevice(), newDevice(), newDevice()
		running(t, network, library.Record{ID: uuid.New(), Secret: library.NewSecret()}, a, b, c)
		b.tell(t, a, library.Member{Instance: identity.New().Remote(), Node: c.id.Remote(), Since: 1 << 62})
		r := a.lib.Record()
		_, ok := r.Member(c.instance.Remote())
		require.True(t, ok)
	})
}
