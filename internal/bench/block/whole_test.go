package block

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Processes move all files and report their costs; a process that is killed
// does no harm.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	dir := t.TempDir()
	program, err := buildSide(t.Context(), dir)
	require.NoError(t, err)
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	require.NoError(t, os.Mkdir(from, 0o700))
	const size = 64 * mib
	file := filepath.Join(from, "file")
	require.NoError(t, write(file, size))
	want := contents(t, from)
	for _, w := range []way{blocks, copied} {
		peaks, err := once(t.Context(), program, w, file, to)
		require.NoError(t, err)
		require.Equal(t, want, contents(t, to))
		for _, p := range peaks {
			require.Positive(t, p.Heap)
		}
	}
	sent, err := interrupted(t.Context(), program, file, to, size)
	require.NoError(t, err)
	require.GreaterOrEqual(t, sent, int64(size))
	require.Less(t, sent, int64(size+size/2))
	require.Equal(t, want, contents(t, to))
	_, err = once(t.Context(), program, way{route: "none"}, file, to)
	require.ErrorContains(t, err, `there is no way "none"`)
}
