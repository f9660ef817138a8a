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

// findTestJournal opens the journal with the key 1 in a folder, or makes it.
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

// emptyJournal returns a folder and a journal in it.
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

// Places that are booked together are all there.
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

// The journal of another time is never a danger.
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

// A file of somebody else's that lies where ours was to get is not ours, also
// when our data is not there any more: it may have come before that or after,
// and the offer may have had no such file meanwhile.
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

// A file that has its name and its number is not gone on with, also where the
// file system does not tell of second names.
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
	e.seconds++ // it has changed
	require.False(t, placed(t, j, root, &e))
	require.Empty(t, j.begun)
	_, err = root.Lstat(j.data(n))
	require.ErrorIs(t, err, fs.ErrNotExist)
	j.close(true)
}

// What follows a broken record is gone, also once another record has replaced
// that.
func TestBrokenRecord(t *testing.T) {
	root, j := emptyJournal(t)
	large, e := file("large", 1<<20), file("a", 4)
	n, err := j.begin(&large)
	require.NoError(t, err)
	broken := j.size
	require.NoError(t, j.chunk(n, 0, hash{1}))
	require.NoError(t, j.place(place{number: j.number(), entry: e, path: "a"}))
	_, err = j.file.WriteAt([]byte{0xFF}, broken+5) // its page did not get to the disk, that of the next record did
	require.NoError(t, err)
	j.close(false)
	for range 2 {
		j = findTestJournal(t, root)
		require.Empty(t, j.places)
		require.NoError(t, j.chunk(n, 0, hash{2}))
		j.close(false)
	}
}

// A file of which the size asks for other chunks now starts over, and a chunk
// is claimed only if it is what was verified.
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
		other := findTestJournal(t, root) // the first one is in use
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

// Data is kept if it is not known what has become of a file, and if the
// transfer ends before that is written down.
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
	j.dir = dir // which fails
	require.ErrorIs(t, j.settle(t.Context(), root, nil), os.ErrClosed)
	_, err = j.placed(root, &e)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = root.Lstat(j.data(n))
	require.NoError(t, err)
	j.close(false)
}

// A data file that no record names is in nobody's way: small files that are
// whole wait for their batch without one.
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

// A transfer that is killed while it makes its journal leaves one without a
// header. The next one removes it, unless somebody holds it: that one is being
// made.
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

// A journal that is taken for one without an owner, and removed, before it is
// locked is made again.
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
