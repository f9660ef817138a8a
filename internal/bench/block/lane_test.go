package block

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A file goes over a lane once both nodes have lanes.
func TestLanes(t *testing.T) {
	p, err := newPair(t.Context(), t.TempDir(), 0)
	require.NoError(t, err)
	defer p.close()
	require.Error(t, blocks.send(t.Context(), p.overLane(blocks), t.TempDir()))
	require.NoError(t, p.addLanes(t.Context()))
	b := &bench{plan: short}
	b.file = t.TempDir() + "/large"
	require.NoError(t, write(b.file, 1<<20))
	require.NoError(t, blocks.send(t.Context(), p.overLane(blocks), b.file))
	require.NotEmpty(t, contents(t, p.to))
}
