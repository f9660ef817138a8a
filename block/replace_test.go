package block

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A receiver was killed just after a file of the user's had exchanged its name
// with the new one, because the user had put it there after the last check.
// That file gets a name again, whether the transfer continues or is cleaned up;
// the old file and the new one do not.
func TestReplaceKilled(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this system cannot exchange two names: Replace is Keep")
	}
	for name, over := range map[string]func(t *testing.T, root *os.Root, vol *volume, key hash){
		"goes on": func(t *testing.T, root *os.Root, vol *volume, key hash) {
			j, err := openJournal(t.Context(), vol, &key)
			require.NoError(t, err)
			require.Len(t, j.swaps, 3)
			require.NoError(t, j.settle(t.Context(), root, nil))
			j.close(true)
		},
		"cleaned": func(t *testing.T, root *os.Root, _ *volume, _ hash) { require.NoError(t, Clean(root, -time.Hour)) },
	} {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		require.NoError(t, err)
		vol := newVolume(root, true, nil)
		require.NoError(t, vol.enter(func() error { return nil }))
		key := journalKey("a", [16]byte{})
		j, err := openJournal(t.Context(), vol, &key)
		require.NoError(t, err)
		for _, data := range []string{"new", "old", "mine"} {
			n := j.number()
			require.NoError(t, vol.store(j.data(n), []byte(data)))
			s := &swap{path: data + ".txt", new: ident{file: 1}, old: ident{file: 2}}
			switch now := vol.dir.look(j.data(n)); data {
			case "new":
				s.new = now
			case "old":
				s.old = now
			}
			require.NoError(t, j.swap(n, s))
			require.NoError(t, j.place(place{number: n, path: s.path, entry: entry{id: [16]byte{byte(n)}, size: 3}}))
		}
		j.file.Close() // as if the process was killed
		j.free()
		over(t, root, vol, key)
		vol.leave()
		var names []string
		all, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range all {
			names = append(names, e.Name())
		}
		require.Equal(t, []string{"mine (2).txt"}, names, name)
		got, err := os.ReadFile(filepath.Join(dir, "mine (2).txt"))
		require.NoError(t, err)
		require.Equal(t, "mine", string(got))
		root.Close()
	}
}
