package block

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// A long list is stored in a file and read back unchanged, from any entry on.
func TestSpool(t *testing.T) {
	t.Parallel()
	const n = 6_000
	for _, limit := range []int{spoolAt, 100 << 20} {
		path := filepath.Join(t.TempDir(), "spool")
		s := spool{limit: limit, create: func() (*os.File, error) { return os.Create(path) }, remove: func(name string) { os.Remove(name) }}
		for i := range n {
			e := file(strings.Repeat("x", 800), int64(i))
			b, err := s.add(&e)
			require.NoError(t, err)
			require.Len(t, b, 803+46)
		}
		require.Equal(t, limit == spoolAt, s.file != nil)
		require.LessOrEqual(t, cap(s.memory), 2*limit)
		for _, from := range []int{0, 1, 63, 64, 65, 4095, n - 1, n} {
			c := s.entries(from, n)
			for i := from; c.next(); i++ {
				require.Equal(t, i, c.index)
				require.EqualValues(t, i, c.size)
			}
			require.NoError(t, c.err)
			require.Equal(t, n-1, c.index)
		}
		e, err := s.at(4321)
		require.NoError(t, err)
		require.EqualValues(t, 4321, e.size)
		c := s.entries(100, 200)
		for c.next() {
		}
		require.Equal(t, 199, c.index)
		s.close()
		require.NoFileExists(t, path)
	}
}

// A list that outgrows memory is stored in the app's folder; without one, the
// error says what to do. Neither side ever uses the system's folder for
// temporary files.
func TestSpoolFolder(t *testing.T) {
	dir := strings.Repeat(strings.Repeat("long", 60)+"/", 4)
	fsys := fstest.MapFS{}
	for i := range 2000 { // each a KiB long
		fsys[fmt.Sprintf("%s%05d", dir, i)] = &fstest.MapFile{Data: []byte("x")}
	}
	refuse := func(context.Context, *Offer) error { return Refuse("") }
	r := try{sources: []Source{{Name: "top", FS: fsys, Path: "."}}, dir: t.TempDir(), decide: refuse}
	spool := t.TempDir()
	t.Setenv("TMPDIR", "/nonexistent")
	sent, received := r.run(t)
	require.ErrorIs(t, sent.err, ErrRefused)
	r.send.inMemory = 1 << 20
	sent, received = r.run(t)
	require.ErrorIs(t, sent.err, ErrSpool)
	require.ErrorIs(t, received.err, ErrSpool)
	require.ErrorContains(t, received.err, "more than 32 MiB")
	var err error
	r.send.Spool, err = os.OpenRoot(spool)
	require.NoError(t, err)
	defer r.send.Spool.Close()
	sent, received = r.run(t)
	require.ErrorIs(t, sent.err, ErrRefused)
	require.ErrorIs(t, received.err, ErrRefused)
	left, err := os.ReadDir(spool)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoDirExists(t, filepath.Join(r.dir, partialDir))
	r.send.Spool.Close()
	sent, _ = r.run(t)
	require.ErrorIs(t, sent.err, ErrSpool)
	require.ErrorIs(t, sent.err, os.ErrClosed)
}
