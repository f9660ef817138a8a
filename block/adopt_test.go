package block

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Without locks, a transfer may take over from one that still runs in another
// process. The old one does no harm: it cannot name a file that was taken over,
// and its writes to such a file are detected.
func TestTakenOver(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	open := func() (*volume, *journal) {
		vol := newVolume(root, false, lacking(syscall.ENOLCK, "lock"))
		var j *journal
		require.NoError(t, vol.enter(func() (err error) {
			j, err = openJournal(t.Context(), vol, &hash{1})
			return err
		}))
		return vol, j
	}
	vol, old := open()
	defer vol.closePartial()
	e := file("a", 300<<10)
	content := make([]byte, e.size)
	number, err := old.begin(&e)
	require.NoError(t, err)
	data, err := vol.create(old.data(number))
	require.NoError(t, err)
	defer data.Close()
	require.NoError(t, vol.write(data, content, 0))
	h := newChunkHasher(t.Context())
	h.zeros(128 << 10)
	chunk, err := h.sum()
	require.NoError(t, err)
	require.NoError(t, old.chunk(number, 0, chunk))
	require.NoError(t, old.top("top", "top (2)"))
	old.free() // as if from another process

	vol2, j := open()
	defer vol2.closePartial()
	require.True(t, j.adopted)
	require.NotEqual(t, old.name, j.name)
	require.Equal(t, "top (2)", j.tops["top"])
	n, claims, err := j.claims(t.Context(), &e, maxChunks)
	require.NoError(t, err)
	require.Equal(t, []hash{chunk}, claims)
	require.Equal(t, number, n)

	// The old transfer can neither place the file nor damage the new one's
	// records.
	p := newPlacer(&receiver{transfer: newTransfer(t.Context(), nil), vol: vol, journal: old})
	require.NoError(t, old.place(place{number: number, entry: e, path: "a"}))
	require.Error(t, p.link(&wholeFile{entry: e, number: number, wanted: "a", path: "a"}))
	require.Error(t, p.finishData(&wholeFile{entry: e, number: number}, true))
	_, err = root.Lstat("a")
	require.ErrorIs(t, err, os.ErrNotExist)

	// A write of the old transfer to a file that the new one has verified is
	// detected.
	a := &assembler{transfer: newTransfer(t.Context(), nil), vol: vol2, journal: j}
	again, err := vol2.open(j.data(n))
	require.NoError(t, err)
	defer again.Close()
	in := &incoming{entry: e, size: e.size, file: again, hashes: claims, adopted: true}
	require.NoError(t, a.unshared(in))
	require.NoError(t, vol.write(data, []byte("x"), 77))
	require.ErrorIs(t, a.unshared(in), errShared)
	j.close(true)
}
