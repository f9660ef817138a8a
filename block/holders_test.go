package block

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Within one process, a transfer that still runs is not taken over, with or
// without locks; if it is about to end, the next one waits for it.
func TestHeld(t *testing.T) {
	for _, faults := range []func(string, string) error{nil, lacking(syscall.ENOLCK, "lock")} {
		source, want := folderOf(map[string]int{"a": 600 << 10})
		first := try{sources: []Source{source}, dir: t.TempDir()}
		first.receive.faults = faults
		second := first
		reached := false
		first.receive.faults = func(op, name string) error {
			if op == "write" && !reached {
				reached = true
				_, received := second.run(t)
				require.NoError(t, received.err)
				require.Zero(t, received.Resumed)
			}
			if faults != nil {
				return faults(op, name)
			}
			return nil
		}
		_, received := first.run(t)
		require.NoError(t, received.err)
		require.True(t, reached)
		require.Equal(t, want, contents(t, filepath.Join(first.dir, "top")))
		require.Equal(t, want, contents(t, filepath.Join(first.dir, "top (2)")))
		require.Empty(t, leftovers(t, first.dir))
	}
}
