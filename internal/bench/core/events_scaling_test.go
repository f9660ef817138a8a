package core

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every bus delivers what is published, and the measurements yield values.
func TestMeasurements(t *testing.T) {
	node, err := ours(t.Context(), "ours", 3, 1)
	require.NoError(t, err)
	defer node.close()
	theirs, err := libp2p(3)
	require.NoError(t, err)
	defer theirs.close()
	for _, s := range race(1, node, theirs, channels(3)) {
		require.Positive(t, s.Median())
	}
	m, err := measure(t.Context(), 10)
	require.NoError(t, err)
	for _, s := range [][]float64{m.heap, m.snapshot, m.discover, m.expire} {
		require.Len(t, s, 1)
		require.Positive(t, s[0])
	}
	s, err := update(t.Context(), 4, 2)
	require.NoError(t, err)
	require.Len(t, s, 2)
}
