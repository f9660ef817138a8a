package metadata_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/metadata"
)

// If metadata changes all the time, the node is told of some changes, and of
// the last one.
func TestMetadataPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var all []string
		h := &metadata.Heard{Burst: 16, PerSecond: 4, State: func(m map[string]string) error {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, m["n"])
			return nil
		}}
		got := func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return all
		}
		for i := range 1000 {
			require.NoError(t, h.Say(map[string]string{"n": fmt.Sprint(i)}))
		}
		require.Len(t, got(), 16)
		time.Sleep(time.Second)
		require.Equal(t, "999", got()[16])
		require.Len(t, got(), 17)
		for i := range 100 {
			h.Say(map[string]string{"n": fmt.Sprint("more ", i)})
			time.Sleep(100 * time.Millisecond)
		}
		require.Less(t, len(got()), 17+3+40+1)
		h.Say(map[string]string{"n": "last"})
		h.Stop()
		require.Equal(t, "last", got()[len(got())-1])

		before := len(got())
		h = &metadata.Heard{Burst: -1, PerSecond: 4, State: h.State}
		for range 100 {
			require.NoError(t, h.Say(nil))
		}
		require.Len(t, got(), before+100, "without a limit")
	})
}
