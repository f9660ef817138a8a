package library_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/proto"
)

// Errands to a member leave room for the app's tunnels to it: they are 2 s apart.
func TestErrandsPause(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		link := network.Link(a.id.Remote(), b.id.Remote())
		before := link.Stats().Streams
		for range 5 {
			require.NoError(t, a.lib.AddMember(stranger()))
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
		}
		pass(time.Second)
		require.Equal(t, before+1, link.Stats().Streams)
		require.Len(t, b.lib.Record().Members, 2)
		pass(2 * time.Second)
		require.Equal(t, before+2, link.Stats().Streams)
		require.Len(t, b.lib.Record().Members, 6)
	})
}

// An errand that has failed for hours is done as soon as the member has been away and is back.
func TestErrandAfterReturn(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		r := b.lib.Record()
		require.NoError(t, b.libraries.Remove(r.ID))
		require.NoError(t, a.lib.AddMember(stranger()))
		pass(5*time.Hour + 20*time.Minute) // it is tried once an hour now, and was 17 minutes ago
		b.stop(t)
		pass(5 * time.Second)
		b.start(t, network, p2p.Config{})
		b.load(t, r)
		pass(2 * time.Minute) // a minute, if it was found before it had the library
		require.Len(t, b.lib.Record().Members, 2)
	})
}

// A member that asks who the others are, and does not say that it has heard, may not have: it is told again.
func TestNotHeard(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		r := b.lib.Record()
		require.NoError(t, b.libraries.Remove(r.ID)) // so that it does not take what it is told
		require.NoError(t, a.lib.AddMember(stranger()))
		pass(time.Second)
		c := b.say(t, a, list())
		var said library.MemberList
		require.NoError(t, said.DecodeFrom(proto.NewDecoder(c)))
		require.Len(t, said, 3)
		c.Abort(errors.New("cut"))
		pass(time.Second)
		require.Contains(t, a.lib.Record().Untold, b.instance.Remote())
		b.tell(t, a) // this time it does
		require.NotContains(t, a.lib.Record().Untold, b.instance.Remote())
	})
}
