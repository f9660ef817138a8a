package block

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Neither a new file nor a link replaces anything.
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
