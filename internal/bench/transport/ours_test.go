package transport

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A stream allocates no more than it does today, at both ends together, which
// is less than a host of go-libp2p.
func TestAllocations(t *testing.T) {
	all, end, err := links(t.Context(), 0, ours(), hosts())
	require.NoError(t, err)
	defer end()
	least := func(l *link) float64 {
		n := 1e9
		for range 5 { // other goroutines' allocations count, too
			n = min(n, testing.AllocsPerRun(200, func() {
				if err := exchange(t.Context(), l.dialer); err != nil {
					t.Error(err)
				}
			}))
		}
		return n
	}
	require.LessOrEqual(t, least(all[0]), 92.0)
	require.Less(t, least(all[0]), least(all[1]))
}
