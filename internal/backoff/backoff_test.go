package backoff

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func waits(b *Backoff, n int) (all []time.Duration) {
	for range n {
		all = append(all, b.Next())
	}
	return all
}

func TestBackoff(t *testing.T) {
	b := Backoff{Min: time.Second, Max: 10 * time.Second}
	sequence := []time.Duration{1e9, 2e9, 4e9, 8e9, 10e9, 10e9}
	require.Equal(t, sequence, waits(&b, 6))
	b.Reset()
	require.Equal(t, sequence, waits(&b, 6))

	b = Backoff{Min: time.Minute, Max: time.Minute}
	require.Equal(t, []time.Duration{time.Minute, time.Minute}, waits(&b, 2))

	b = Backoff{Min: 1, Max: math.MaxInt64 / 2}
	for range 100 {
		require.Positive(t, b.Next(), "no overflow")
	}
}
