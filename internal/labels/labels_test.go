package labels

import (
	"context"
	"runtime/pprof"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// A context made from a set has the set's labels, to which others can be added,
// and keeps the parent's values, without an allocation.
func TestSet(t *testing.T) {
	type key struct{}
	parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
	peer := identity.New().Remote()
	set := NewSet("quic", peer, "album")
	require.True(t, set.Is("quic", "album"))
	require.False(t, set.Is("quic", "") || set.Is("tcp", "album") || (*Set)(nil).Is("", ""))

	done := make(chan struct{})
	go func() { // the goroutine takes over the labels
		defer close(done)
		var room Context
		ctx := set.Begin(parent, &room)
		pprof.Do(ctx, pprof.Labels("app", "own"), func(ctx context.Context) {
			for name, want := range map[string]string{"hook": "quic", "peer": peer.String()[:short], "route": "album", "app": "own"} {
				got, ok := pprof.Label(ctx, name)
				if !ok || got != want {
					t.Errorf("label %s is %q", name, got)
				}
			}
		})
		if ctx.Value(key{}) != "kept" {
			t.Error("the context's own value is lost")
		}
		child, stop := context.WithCancel(ctx)
		defer stop()
		cancel()
		<-child.Done()
		if n := testing.AllocsPerRun(100, func() { set.Begin(parent, &room) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}()
	<-done
}
