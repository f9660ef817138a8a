package block

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Old leftovers are removed without help from the app.
func TestCleanOnReceive(t *testing.T) {
	source, _ := folderOf(map[string]int{"a": 600 << 10})
	r := try{sources: []Source{source}, dir: t.TempDir(), cut: after(300 << 10)}
	r.run(t)
	old := time.Now().Add(-staleAfter - time.Hour)
	for _, name := range leftovers(t, r.dir) {
		require.NoError(t, os.Chtimes(filepath.Join(r.dir, partialDir, name), old, old))
	}
	r.cut, r.receive.From = nil, "another"
	_, received := r.run(t)
	require.NoError(t, received.err)
	require.Empty(t, leftovers(t, r.dir))
}
