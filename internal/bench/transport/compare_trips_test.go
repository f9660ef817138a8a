package transport

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRoundTrips counts the round trips of the protocols, which do not depend
// on the speed of the machine: packets that are sent alongside may add to the
// count, but nothing reduces it.
func TestRoundTrips(t *testing.T) {
	for _, c := range []struct {
		transport
		cold, warm float64
	}{
		{raw(), 2, 1},
		{ours(), 2, 1},
		{routed(), 2, 1},
		{unknown(), 3, 1},
		{hosts(), 3, 1},
		{ancestor(), 5, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, end, err := links(t.Context(), roundTrip/2, c.transport)
			require.NoError(t, err)
			defer end()
			for _, warm := range []bool{true, false} {
				least := 100.0
				want := map[bool]float64{false: c.cold, true: c.warm}[warm]
				for range 10 {
					_, n, err := distantOnce(t.Context(), all[0], warm)
					require.NoError(t, err)
					if least = min(least, n); least <= want {
						break
					}
				}
				require.Equal(t, want, least, "warm: %v", warm)
			}
		})
	}
}
