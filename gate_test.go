package p2p_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// Of the calls of Config.Allow, a single peer gets few, all strangers together
// get most, and tracked peers get the rest. A stream that finds no place is
// refused as busy.
func TestAllowLimits(t *testing.T) {
	for name, test := range map[string]struct {
		cfg                     p2p.Config
		onePeer, others, member int // places: for one peer, 300 more, 60 tracked ones
	}{
		"default":     {p2p.Config{}, 8, 224 - 8, 32},
		"configured":  {p2p.Config{MaxAllowCallsPerPeer: 3, MaxAllowCalls: 80}, 3, 70 - 3, 10},
		"of one peer": {p2p.Config{MaxAllowCalls: -1}, 8, 300, 60},
		"none":        {p2p.Config{MaxAllowCallsPerPeer: -1, MaxAllowCalls: -1}, 500, 300, 60},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.cfg.Allow = func(ctx context.Context, _ p2p.Request) error {
					<-ctx.Done()
					return nil
				}
				c := newCrowdedNode(t, test.cfg)
				ask := func(id identity.RemoteIdentity) (admitted bool) {
					refused := make(chan error, 1)
					go func() { refused <- c.node.Allows(context.Background(), p2p.Request{Action: p2p.Connect, Peer: id}) }()
					synctest.Wait()
					select {
					case err := <-refused:
						require.ErrorIs(t, err, p2p.ErrBusy)
						require.False(t, errors.Is(err, p2p.ErrRefused), "%v", err)
						return false
					default:
						return true
					}
				}
				count := func(n int, id func() identity.RemoteIdentity) (places int) {
					for range n {
						if ask(id()) {
							places++
						}
					}
					return places
				}
				one := c.peer()
				require.Equal(t, test.onePeer, count(500, func() identity.RemoteIdentity { return one }))
				require.Equal(t, test.others, count(300, newID))
				require.Equal(t, test.member, count(60, func() identity.RemoteIdentity {
					id := newID()
					c.keeper.scope.Track(id)
					return id
				}))
				far := c.l.accept(one)
				synctest.Wait()
				if name != "none" {
					require.ErrorIs(t, far.failure(), p2p.ErrBusy)
				}
				time.Sleep(2 * time.Second) // the calls return
				require.Equal(t, test.others+test.onePeer, count(300+test.onePeer, newID), "all places are free again")
				require.NoError(t, c.node.Shutdown(t.Context()))
			})
		})
	}
}
