package main

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/soak"
)

// Thousands of changes (a hundred thousand with SDP2P_SOAK) get from one device
// to a second, and from there to a third, in batches. When the transfer is cut,
// it goes on where it was. Some changes are operations of their own; others
// share an operation, up to 256 in one.
func TestMany(t *testing.T) {
	t.Parallel()
	many := soak.N(5000, 100_000)
	all := replicas(t, 0, 0, 0)
	a, b, c := all[0], all[1], all[2]
	for i := range 300 {
		a.title(t, uuid.UUID{byte(i)}, fmt.Sprint("title ", i))
	}
	for i := 300; i < many; {
		var changes []Change
		for range 1000 {
			changes = append(changes, Change{uuid.UUID{byte(i), byte(i >> 8)}, Title, fmt.Sprint("title ", i)})
			i++
		}
		require.NoError(t, a.Set(changes...))
	}
	got := 0
	for _, most := range []int{1, 100, 64<<10 + 77, 10 * many, math.MaxInt} {
		n := b.get(t, a, batchSize, most)
		require.True(t, n > 0 || most <= 100, "each larger part must bring something")
		got += n
		b.reopen(t)
	}
	require.Equal(t, 300+many/1000*4, got, "nothing came twice")
	require.Equal(t, a.Digest(), b.Digest())
	require.Equal(t, got, c.get(t, b, batchSize, math.MaxInt))
	require.Equal(t, a.Digest(), c.Digest())
	require.Zero(t, c.get(t, a, batchSize, math.MaxInt))
}

// Large values are spread over as many operations as needed.
func TestLarge(t *testing.T) {
	t.Parallel()
	all := replicas(t, 0, 0)
	var changes []Change
	for i := range 300 {
		changes = append(changes, Change{uuid.UUID{byte(i)}, Body, strings.Repeat("x", MaxValue*(i%3)/2)})
	}
	require.NoError(t, all[0].Set(changes...))
	require.Less(t, len(all[0].history(all[0].author()).at), 200)
	meet(t, all...)
	all[1].reopen(t)
	require.Equal(t, all[0].Digest(), all[1].Digest())
}
