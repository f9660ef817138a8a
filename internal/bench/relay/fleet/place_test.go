package fleet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Devices have three relays, two of them in different zones if there are
// several zones, and relays have about the same number of devices.
func TestPlacement(t *testing.T) {
	w := newWorld(3, 50_000, 20, 4)
	for i := range w.devices {
		d := &w.devices[i]
		require.True(t, d.choice[0] != d.choice[1] && d.choice[1] != d.choice[2] && d.choice[0] != d.choice[2])
		kept := w.first(d)
		require.NotEqual(t, w.zone(d.choice[kept[0]]), w.zone(d.choice[kept[1]]))
	}
	p := w.placed()
	sum := 0
	for _, n := range p.reservations {
		sum += n
		require.InDelta(t, 5000, n, 500)
	}
	require.Equal(t, 2*50_000, sum)
	require.Zero(t, p.oneZone)
}
