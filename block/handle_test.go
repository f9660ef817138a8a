package block

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Nothing is replaced, by a new file or by a link.
func TestHandle(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	h, err := newHandle(root)
	require.NoError(t, err)
	defer h.close()
	require.NoError(t, h.create("a", []byte("a")))
	require.NoError(t, h.create("b", nil))
	require.ErrorIs(t, h.create("a", []byte("other")), fs.ErrExist)
	require.True(t, h.has("a"))
	require.False(t, h.has("c"))
	if err := h.link(h, "a", "b"); !errors.Is(err, errors.ErrUnsupported) {
		require.ErrorIs(t, err, fs.ErrExist)
		require.NoError(t, h.link(h, "a", "c"))
		require.NoError(t, h.remove("a"))
		require.False(t, h.has("a"))
		got, err := root.ReadFile("c")
		require.NoError(t, err)
		require.Equal(t, "a", string(got))
	}
	got, err := root.ReadFile("b")
	require.NoError(t, err)
	require.Empty(t, got)
}

// What is in the way is looked for, but not in a folder that this attempt has made.
func TestVacant(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	require.NoError(t, root.Mkdir("old", 0o700))
	for _, first := range []bool{true, false} {
		r := &receiver{transfer: newTransfer(t.Context(), nil), dest: root, opts: ReceiveOptions{From: "a"}}
		require.NoError(t, r.openJournal([16]byte{}))
		p := newPlacer(r)
		for _, folder := range [][2]string{{"new", "new"}, {"old", "old (2)"}, {"new/in", "new/in"}} {
			here, err := p.mkdir(folder[0])
			require.NoError(t, err)
			require.Equal(t, folder[1], here)
		}
		require.NoError(t, root.WriteFile("new/in/a", nil, 0o600))
		require.NoError(t, p.add(finished{entry: file("new/in/a", 0)}))
		require.NoError(t, p.add(finished{entry: file("other", 0)}))
		inside, beside := &p.batch[0], &p.batch[1]
		require.Equal(t, first, inside.fresh)
		require.False(t, beside.fresh)
		require.NoError(t, root.WriteFile("new/in/a (2)", nil, 0o600))
		want := "new/in/a"
		if !first {
			want = "new/in/a (3)"
		}
		require.Equal(t, want, p.vacant(inside, 1))
		require.Equal(t, "new/in/a (3)", p.vacant(inside, 2))
		p.leave()
		r.dir.close()
		r.journal.close(!first)
		r.partial.Close()
	}
}
