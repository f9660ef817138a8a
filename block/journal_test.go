package block

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zeebo/blake3"
)

// findTestJournal opens the journal with the key 1 in a folder, or creates it.
func findTestJournal(t testing.TB, root *os.Root) *journal {
	vol := newVolume(root, false, nil)
	vol.partial = root
	var err error
	vol.dir, err = newHandle(root)
	require.NoError(t, err)
	t.Cleanup(vol.dir.close)
	j, err := openJournal(t.Context(), vol, &hash{1})
	require.NoError(t, err)
	return j
}

// emptyJournal returns a folder with an empty journal.
func emptyJournal(t testing.TB) (*os.Root, *journal) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return root, findTestJournal(t, root)
}

func placed(t *testing.T, j *journal, dest *os.Root, e *entry) bool {
	t.Helper()
	there, err := j.placed(dest, e)
	require.NoError(t, err)
	return there
}

// Places that are recorded together are all found again.
func TestPlaces(t *testing.T) {
	root, j := emptyJournal(t)
	var places []place
	for i := range 1000 {
		e := file(fmt.Sprint("f", i), 1)
		places = append(places, place{number: j.number(), entry: e, path: e.path})
	}
	require.NoError(t, j.place(places...))
	j.close(false)
	j = findTestJournal(t, root)
	defer j.close(true)
	require.Len(t, j.places, len(places))
	for i := range places {
		require.NoError(t, root.WriteFile(places[i].path, []byte("x"), 0o600))
		require.True(t, placed(t, j, root, &places[i].entry), i)
	}
}

// A damaged journal is never dangerous.
func FuzzJournal(f *testing.F) {
	seed := func(change func(j *journal)) []byte {
		dir, j := emptyJournal(f)
		defer j.close(true)
		change(j)
		b, err := os.ReadFile(filepath.Join(dir.Name(), j.name+journalEnd))
		require.NoError(f, err)
		return b
	}
	f.Add([]byte{})
	f.Add(seed(func(*journal) {}))
	f.Add(seed(func(j *journal) {
		e := file("a", 1<<20)
		j.top("top", "top (2)")
		n, _ := j.begin(&e)
		j.chunk(n, 0, hash{1})
		j.chunk(n, 70000, hash{1})
		j.chunk(n, 65535, hash{1})
		j.place(place{number: n, entry: e, path: "top (2)/a"})
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := os.OpenRoot(t.TempDir())
		require.NoError(t, err)
		defer root.Close()
		require.NoError(t, root.WriteFile("x"+journalEnd, b, 0o600))
		j := findTestJournal(t, root)
		e := file("a", 1<<20)
		require.False(t, placed(t, j, root, &e))
		_, claims, err := j.claims(context.Background(), &e, maxChunks)
		require.NoError(t, err)
		require.Empty(t, claims)
		j.close(true)
	})
}

// A file of another program at the path that ours was to get does not count as
// ours, even if our data has gone: that file may have come earlier or later,
// and the offer may not have had the file for a while.
func TestNotOurs(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, asked := range []bool{false, true} {
			root, j := emptyJournal(t)
			e := file("a", 4)
			number := j.number()
			require.NoError(t, j.place(place{number: number, entry: e, path: "a"}))
			require.NoError(t, root.WriteFile(j.data(number), []byte("ours"), 0o600))
			j.close(false)
			for i := range 3 {
				if late == (i > 0) {
					require.NoError(t, root.WriteFile("a", []byte("else"), 0o600))
				}
				j := findTestJournal(t, root)
				if asked || i == 2 {
					require.False(t, placed(t, j, root, &e))
				}
				require.NoError(t, j.settle(t.Context(), root, nil))
				_, err := root.Lstat(j.data(number))
				require.ErrorIs(t, err, fs.ErrNotExist)
				j.close(false)
			}
		}
	}
}

// A file that has both its final name and its name in the partial folder is not
// continued, even if the file system does not report second names.
func TestAbandoned(t *testing.T) {
	root, j := emptyJournal(t)
	e := file("a", 1<<20)
	n, err := j.begin(&e)
	require.NoError(t, err)
	require.NoError(t, j.chunk(n, 0, hash{1}))
	require.NoError(t, j.place(place{number: n, entry: e, path: "a"}))
	require.NoError(t, root.WriteFile("a", make([]byte, 1<<20), 0o600))
	require.NoError(t, root.Link("a", j.data(n)))
	j.close(false)
	j = findTestJournal(t, root)
	require.Len(t, j.begun, 1)
	e.seconds++ // the file has changed
	require.False(t, placed(t, j, root, &e))
	require.Empty(t, j.begun)
	_, err = root.Lstat(j.data(n))
	require.ErrorIs(t, err, fs.ErrNotExist)
	j.close(true)
}

// Records after a broken one are lost, even once another record has replaced
// the broken one.
func TestBrokenRecord(t *testing.T) {
	root, j := emptyJournal(t)
	large, e := file("large", 1<<20), file("a", 4)
	n, err := j.begin(&large)
	require.NoError(t, err)
	broken := j.size
	require.NoError(t, j.chunk(n, 0, hash{1}))
	require.NoError(t, j.place(place{number: j.number(), entry: e, path: "a"}))
	_, err = j.file.WriteAt([]byte{0xFF}, broken+5) // only the next page was written
	require.NoError(t, err)
	j.close(false)
	for range 2 {
		j = findTestJournal(t, root)
		require.Empty(t, j.places)
		require.NoError(t, j.chunk(n, 0, hash{2}))
		j.close(false)
	}
}

// A file whose size now calls for other chunks starts over, and a chunk is
// claimed only if it still has the hash that was verified.
func TestClaims(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	for size, want := range map[int64]int{1 << 20: 2, 2 << 20: 2, 200_000: 1, 250 << 20: 0} {
		j := findTestJournal(t, root)
		e := file("a", 1<<20)
		n, err := j.begin(&e)
		require.NoError(t, err)
		content := make([]byte, 3*128<<10)
		require.NoError(t, root.WriteFile(j.data(n), content, 0o600))
		for i := range 2 {
			require.NoError(t, j.chunk(n, uint32(i), blake3.Sum256(content[:128<<10])))
		}
		require.NoError(t, j.chunk(n, 2, hash{2}))
		j.close(false)
		j = findTestJournal(t, root)
		other := findTestJournal(t, root) // since j is in use
		require.NotEqual(t, j.name, other.name)
		other.close(true)
		e.size = size
		_, claims, err := j.claims(t.Context(), &e, maxChunks)
		require.NoError(t, err)
		require.Len(t, claims, want, size)
		_, claims, err = j.claims(t.Context(), &e, maxChunks)
		require.NoError(t, err)
		require.Empty(t, claims, "twice")
		j.close(true)
	}
}

// Data is kept if it is unknown whether a file was placed, and if the transfer
// ends before this is recorded.
func TestSettle(t *testing.T) {
	root, j := emptyJournal(t)
	e := file("a", 4)
	n := j.number()
	require.NoError(t, j.place(place{number: n, entry: e, path: "a"}))
	require.NoError(t, root.WriteFile(j.data(n), []byte("ours"), 0o600))
	j.close(false)
	j = findTestJournal(t, root)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, j.settle(ctx, root, nil), context.Canceled)
	dir, err := root.OpenRoot(".")
	require.NoError(t, err)
	require.NoError(t, dir.Close())
	j.dir = dir // this fails
	require.ErrorIs(t, j.settle(t.Context(), root, nil), os.ErrClosed)
	_, err = j.placed(root, &e)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = root.Lstat(j.data(n))
	require.NoError(t, err)
	j.close(false)
}

// A data file that no record names causes no trouble: complete small files wait
// for their batch without a record.
func TestUnrecordedData(t *testing.T) {
	root, j := emptyJournal(t)
	e := file("large", 1<<20)
	_, err := j.begin(&e)
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, root.WriteFile(j.data(j.number()), []byte("small"), 0o600))
	}
	j.close(false)
	j = findTestJournal(t, root)
	defer j.close(true)
	require.NoError(t, j.vol.store(j.data(j.number()), []byte("another")))
	require.NoError(t, j.settle(t.Context(), root, nil))
	_, err = root.Lstat(j.data(1))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = root.Lstat(j.data(4))
	require.NoError(t, err)
}

// A transfer that is killed while it creates its journal leaves a journal
// without a header. The next transfer removes it, unless it is locked: in that
// case, it is still being created.
func TestJournalWithoutHeader(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	vol := newVolume(root, false, nil)
	require.NoError(t, vol.enter(func() error { return nil }))
	defer vol.leave()
	for name, content := range map[string]string{"empty": "", "short": "abc"} {
		require.NoError(t, vol.partial.WriteFile(name+journalEnd, []byte(content), 0o600))
	}
	making := newJournal(vol, "making")
	require.NoError(t, making.create(t.Context()))
	defer making.close(false)

	j, err := openJournal(t.Context(), vol, &hash{1})
	require.NoError(t, err)
	defer j.close(false)
	names, err := readNames(vol.partial)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"making" + journalEnd, j.name + journalEnd}, names)
}

// A journal that another transfer takes for abandoned and removes before it is
// locked is created again.
func TestJournalReapedWhileMade(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	reaped := false
	vol := newVolume(root, false, func(op, name string) error {
		if op == "lock" && !reaped {
			reaped = true
			return os.Remove(filepath.Join(root.Name(), partialDir, filepath.Base(name)))
		}
		return nil
	})
	require.NoError(t, vol.enter(func() error { return nil }))
	defer vol.leave()
	j := newJournal(vol, "first")
	require.NoError(t, j.create(t.Context()))
	require.True(t, reaped)
	require.NotEqual(t, "first", j.name)
	require.FileExists(t, filepath.Join(root.Name(), partialDir, j.name+journalEnd))
	j.close(false)
	names, err := readNames(vol.partial)
	require.NoError(t, err)
	require.Empty(t, names)
}
