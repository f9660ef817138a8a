package scan

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/tags"
)

// announced returns the announcement of a node to its contacts, at a time on
// its clock.
func announced(t *testing.T, id identity.Identity, clock, heard time.Time, contacts ...identity.RemoteIdentity) (key identity.RemoteIdentity, all []answer) {
	t.Helper()
	set, err := tags.NewSet(id, contacts, nil)
	require.NoError(t, err)
	key = identity.New().Remote()
	instances, err := tags.Layout(key, set.Tags(tags.Epoch(clock), key))
	require.NoError(t, err)
	for i, txt := range instances {
		at := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(1+i))
		all = append(all, answer{instance: "0123456789abcdef", txt: txt, addrs: []netip.AddrPort{at, at}, heard: heard})
	}
	return key, all
}

func hiddenBy(t *testing.T, answers ...answer) (all []Hidden) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := newSurvey("test", func(context.Context, string, *net.Interface, time.Duration) ([]answer, error) {
		cancel()
		return answers, nil
	})
	nodes, err := s.run(ctx, make([]net.Interface, 1), Config{Time: time.Hour, Hidden: func(h Hidden) { all = append(all, h) }})
	require.NoError(t, err)
	require.Empty(t, nodes)
	return all
}

// Nodes that are visible only to their contacts are counted, and a contact is
// recognized only with its own key, even if the clocks are far apart.
func TestHidden(t *testing.T) {
	a, b, c := identity.New(), identity.New(), identity.New()
	now := time.Now()
	many := make([]identity.RemoteIdentity, 200)
	for i := range many {
		many[i] = identity.New().Remote()
	}
	many[100] = a.Remote()
	for off, want := range map[time.Duration]time.Duration{
		0: 0, 45 * time.Minute: 45 * time.Minute, -45 * time.Minute: -45 * time.Minute, 24 * time.Hour: 24 * time.Hour,
	} {
		key, answers := announced(t, b, now.Add(off), now, many...)
		require.Len(t, answers, 2)
		all := hiddenBy(t, append(answers, answers...)...)
		require.Len(t, all, 1)
		require.Equal(t, key, all[0].Key)
		require.True(t, now.Equal(all[0].Heard))
		require.Equal(t, []netip.AddrPort{answers[0].addrs[0], answers[1].addrs[0]}, all[0].Addrs)
		contact, ahead, ok, err := all[0].Contact(a, []identity.RemoteIdentity{c.Remote(), b.Remote()})
		require.NoError(t, err)
		require.True(t, ok, off)
		require.Equal(t, b.Remote(), contact)
		require.Equal(t, want, ahead)
		_, _, ok, err = all[0].Contact(c, []identity.RemoteIdentity{b.Remote(), a.Remote()})
		require.NoError(t, err)
		require.False(t, ok, "with another key")
		_, _, ok, err = all[0].Contact(a, []identity.RemoteIdentity{c.Remote()})
		require.NoError(t, err)
		require.False(t, ok, "another contact must not be recognized")
		_, _, _, err = all[0].Contact(a, []identity.RemoteIdentity{a.Remote()})
		require.ErrorIs(t, err, tags.ErrSelf)
	}
	_, answers := announced(t, b, now.Add(25*time.Hour), now, a.Remote())
	_, _, ok, err := hiddenBy(t, answers...)[0].Contact(a, []identity.RemoteIdentity{b.Remote()})
	require.NoError(t, err)
	require.False(t, ok)
}

// Other announcements are not counted, and the number of hidden nodes is
// bounded.
func TestHiddenBounds(t *testing.T) {
	require.Empty(t, hiddenBy(t, answer{instance: "0123456789abcdef", txt: []string{"name=x"}}, answer{instance: "printer"}))
	var all []answer
	for range maxHidden + 10 {
		all = append(all, answer{instance: "0123456789abcdef", txt: []string{"v=1", "m=c", "k=" + identity.New().Remote().String()}})
	}
	require.Len(t, hiddenBy(t, all...), maxHidden)
}
