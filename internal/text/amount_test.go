package text

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSize(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB",
		2_500_000_000: "2.5 GB", math.MaxInt64: "9.2 EB", math.MaxUint64: "18.4 EB",
	} {
		require.Equal(t, want, Size(bytes))
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 boxes", 1: "1 box", 2: "2 boxes"} {
		require.Equal(t, want, Count(n, "box", "boxes"))
	}
}
