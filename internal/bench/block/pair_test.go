package block

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/relay"
)

// A transfer over a distance passes through the relay.
func TestDistance(t *testing.T) {
	const delay, size = 5 * time.Millisecond, 4 * ancestor
	dir := t.TempDir()
	p, err := newPair(t.Context(), dir, delay)
	require.NoError(t, err)
	defer p.close()
	from := filepath.Join(dir, "file")
	require.NoError(t, write(from, size))
	before := p.relay.Passed(relay.Server)
	took, err := p.contender(t.Context(), "", waiting, p.bare(waiting), from).Run(1)
	require.NoError(t, err)
	require.Greater(t, p.relay.Passed(relay.Server)-before, int64(size))
	require.GreaterOrEqual(t, took, 2*delay)
}
