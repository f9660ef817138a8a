package ancestor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The data that peers may send before it is read is limited, for all of them
// and for strangers.
func TestBudget(t *testing.T) {
	t.Parallel()
	b := &budget{}
	stranger, member := &scope{budget: b, stranger: true}, &scope{budget: b}
	spans := 0
	for {
		s, _ := stranger.BeginSpan()
		if s.ReserveMemory(256<<10, 255) != nil {
			break
		}
		defer s.Done()
		spans++
	}
	require.Equal(t, maxStrangerMemory/(256<<10), spans)
	require.Error(t, stranger.ReserveMemory(1, 128))
	require.NoError(t, member.ReserveMemory(10<<20, 128))
	require.Error(t, member.ReserveMemory(10<<20, 128), "a window may grow only while half of the budget stays free")
	require.NoError(t, member.ReserveMemory(10<<20, 255))
	member.ReleaseMemory(1 << 30)
	require.Equal(t, maxStrangerMemory, b.all)
	require.Zero(t, member.taken)
	require.NoError(t, member.ReserveMemory(5, 255))
	member.Done()
	member.Done()
	require.Equal(t, maxStrangerMemory, b.all)
}
