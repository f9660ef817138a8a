package ancestor

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

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
