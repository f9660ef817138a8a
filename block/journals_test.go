package block

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Without locks, one transfer may have several journals. They are merged into
// one, and the leftovers of the smaller ones cause no trouble.
func TestSeveralJournals(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	vol := newVolume(root, false, lacking(syscall.ENOLCK, "lock"))
	require.NoError(t, vol.enter(func() error { return nil }))
	defer vol.leave()
	e := file("a", 1<<20)
	for records := range 3 {
		j := newJournal(vol, fmt.Sprint("journal", records))
		require.NoError(t, j.create(t.Context()))
		require.NoError(t, j.append(recordHeader, append([]byte{1}, make([]byte, 31)...)))
		for range records + 1 {
			_, err := j.begin(&e)
			require.NoError(t, err)
		}
		for _, number := range []uint32{0, []uint32{9, 7, 7}[records]} {
			require.NoError(t, vol.store(j.data(number), []byte(j.name)))
		}
		j.keep = true
		j.close(false)
	}
	j, err := openJournal(t.Context(), vol, &hash{1})
	require.NoError(t, err)
	require.True(t, j.adopted)
	names, err := readNames(vol.partial)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{j.name + journalEnd, j.data(0), j.data(7)}, names)
	got, err := vol.partial.ReadFile(j.data(0))
	require.NoError(t, err)
	require.Equal(t, "journal2", string(got), "the largest journal counts")
	require.Equal(t, uint32(8), j.number())
	j.close(true)
	names, err = readNames(vol.partial)
	require.NoError(t, err)
	require.Empty(t, names)
}
