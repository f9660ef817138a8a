//go:build linux || darwin

package block_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A receiver that replaces files, and assembles some of them by copying from
// the old ones, is killed at a random moment. Each name always has either the
// old file or the new one, never a mixture and never nothing, and in the end
// the new one, with no other file beside it. BLOCK_KILLS is the number of kills
// (make kill).
func TestKillReplace(t *testing.T) {
	t.Setenv("BLOCK_EXISTING", "replace")
	source, dest := filepath.Join(t.TempDir(), "source"), newDest(t)
	sizes := []int{0, 1, 1000, 100 << 10, 128<<10 + 1, 1 << 20}
	version := 0
	write := func() {
		version++
		for i := range 4 * len(sizes) {
			path := filepath.Join(source, fmt.Sprintf("folder %d/%d", i%3, i))
			if version == 1 || i%4 == version%4 {
				content := random(sizes[i%len(sizes)], uint64(1000*version+i))
				if old, err := os.ReadFile(path); err == nil && (i+version)/4%2 == 0 && len(old) > chunk { // some chunks stay
					content = every(old, 3*chunk, version%len(old))
				}
				put(t, path, content, 0o644)
				at := time.Unix(int64(1e9+version), 0)
				require.NoError(t, os.Chtimes(path, at, at))
			}
		}
	}
	run := func(after time.Duration) { // the receiver is the one to be killed
		old := map[string]string{}
		if version > 1 {
			old = contentsOf(t, dest)
		}
		a := attempt{source: source, dest: dest, after: after, victim: 1}
		_, complete := a.run(t)
		fresh, now := contentsOf(t, filepath.Dir(source)), contentsOf(t, dest)
		require.Subset(t, keys(fresh), keys(now), "a name that was not sent")
		for path := range old {
			require.Contains(t, now, path, "the file is gone")
		}
		for path, content := range now {
			if content != fresh[path] && content != old[path] {
				t.Fatalf("%s is neither the old file nor the new one", path)
			}
		}
		if complete && after == 0 {
			require.Equal(t, fresh, now)
		}
	}
	write()
	run(0)
	for range setting("BLOCK_KILLS", 6) {
		write()
		run(time.Duration(rand.Int64N(int64(250*time.Millisecond)))>>rand.IntN(4) + 1)
		if rand.IntN(3) == 0 {
			run(0)
		}
	}
	run(0)
	left, err := os.ReadDir(filepath.Join(dest, ".sdp2p-partial"))
	require.NoError(t, err)
	for _, e := range left {
		info, err := e.Info()
		require.NoError(t, err)
		if filepath.Ext(e.Name()) != ".index" { // or a journal without an owner so far
			require.Zero(t, info.Size(), e.Name())
		}
	}
}

// contentsOf returns the content of all files in a folder, except those in the
// partial folder.
func contentsOf(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	for path, content := range tree(t, dir) {
		info, err := os.Lstat(filepath.Join(dir, path))
		require.NoError(t, err)
		if info.Mode().IsRegular() && filepath.Dir(path) != ".sdp2p-partial" {
			all[path] = content
		}
	}
	return all
}

func keys(m map[string]string) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}
