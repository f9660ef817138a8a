package block

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lacking returns faults that make operations fail which the file system does
// not support.
func lacking(err error, ops ...string) func(op, name string) error {
	return func(op, _ string) error {
		for _, o := range ops {
			if op == o {
				return err
			}
		}
		return nil
	}
}

// A destination without locks, hard links or fsync can receive, continue after
// an interruption, and be cleaned; the result reports what it lacks.
func TestLacks(t *testing.T) {
	for name, test := range map[string]struct {
		faults func(op, name string) error
		want   Lacks
	}{
		"fsync EINVAL":     {lacking(syscall.EINVAL, "sync", "syncfs"), Lacks{Sync: true}},
		"fsync EOPNOTSUPP": {lacking(syscall.EOPNOTSUPP, "sync", "syncfs"), Lacks{Sync: true}},
		"fsync ENOSYS":     {lacking(syscall.ENOSYS, "sync", "syncfs"), Lacks{Sync: true}},
		"locks ENOLCK":     {lacking(syscall.ENOLCK, "lock"), Lacks{Locks: true}},
		"locks ENOTSUP":    {lacking(syscall.ENOTSUP, "lock"), Lacks{Locks: true}},
		"links EPERM":      {lacking(syscall.EPERM, "link"), Lacks{Links: true}},
		"everything":       {lacking(syscall.ENOTSUP, "lock", "link", "sync", "syncfs"), Lacks{Sync: true, Links: true, Locks: true}},
		"nothing":          {nil, Lacks{}},
	} {
		t.Run(name, func(t *testing.T) {
			source, want := folderOf(map[string]int{"1": 5, "2": 700 << 10, "3": 2 << 20})
			r := try{sources: []Source{source}, dir: t.TempDir()}
			r.receive.faults = test.faults
			resumed := int64(0)
			for _, limit := range []int64{500 << 10, 300 << 10, 900 << 10} {
				r.cut = after(limit)
				_, received := r.run(t)
				require.ErrorIs(t, received.err, errStream)
				require.GreaterOrEqual(t, received.Resumed, resumed)
				resumed = received.Resumed
				journals := 0
				for _, name := range leftovers(t, r.dir) {
					if strings.HasSuffix(name, journalEnd) {
						journals++
					}
				}
				require.Equal(t, 1, journals, "each attempt continues with the journal of the one before")
			}
			r.cut = nil
			sent, received := r.run(t)
			require.NoError(t, sent.err)
			require.NoError(t, received.err)
			require.Greater(t, received.Resumed, resumed)
			require.Equal(t, test.want, received.Lacks)
			require.Equal(t, want, contents(t, filepath.Join(r.dir, "top")))
			require.Empty(t, leftovers(t, r.dir))

			r.cut, r.sources = after(500<<10), []Source{source, {Name: "other", Reader: strings.NewReader(""), Size: 0}}
			r.run(t)
			require.NotEmpty(t, leftovers(t, r.dir))
			root, err := os.OpenRoot(r.dir)
			require.NoError(t, err)
			defer root.Close()
			vol := newVolume(root, false, test.faults)
			require.NoError(t, vol.enter(func() error { return vol.clean(0) }))
			vol.leave()
			require.NoDirExists(t, filepath.Join(r.dir, partialDir))
		})
	}
}

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

// If the free space is unknown, nothing is refused, and the check can be turned
// off.
func TestSpace(t *testing.T) {
	huge := []Source{{Name: "huge", Reader: zeroReader{}, Size: 1 << 60}}
	refuse := failOnce("write", "", 1, syscall.EFBIG) // reached only if the transfer begins
	r := try{sources: huge, dir: t.TempDir()}
	_, received := r.run(t)
	var space *SpaceError
	require.ErrorAs(t, received.err, &space)
	require.EqualValues(t, 1<<60, space.Needed)

	r.receive.faults = func(op, name string) error {
		if op == "space" {
			return syscall.ENOSYS
		}
		return refuse(op, name)
	}
	_, received = r.run(t)
	require.ErrorIs(t, received.err, ErrIncomplete)
	require.ErrorIs(t, received.err, syscall.EFBIG)

	r.receive = ReceiveOptions{NoSpaceCheck: true, faults: failOnce("write", "", 1, syscall.EFBIG)}
	_, received = r.run(t)
	require.ErrorIs(t, received.err, syscall.EFBIG)
}

// On a file system that refuses names like Windows does, files get other names.
func TestPortableDestination(t *testing.T) {
	source, _ := folderOf(map[string]int{"10:30.png": 5, "aux.c": 6, "in/dot.": 7, "fine": 8})
	r := try{sources: []Source{source}, dir: t.TempDir()}
	sent, received := r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	names := func() (names []string) {
		for name := range contents(t, filepath.Join(r.dir, "top")) {
			names = append(names, name)
		}
		return names
	}
	require.ElementsMatch(t, []string{"10:30.png", "aux.c", "in/dot.", "fine"}, names())

	r.dir = t.TempDir()
	r.receive.faults = lacking(syscall.EINVAL, "name")
	sent, received = r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.ElementsMatch(t, []string{"10_30.png", "_aux.c", "in/dot_", "fine"}, names())
}

// A name is refused if its change makes it equal to another name of the offer.
func TestPortableClash(t *testing.T) {
	source, _ := folderOf(map[string]int{"a:b": 5, "a_b": 6})
	r := try{sources: []Source{source}, dir: t.TempDir()}
	r.receive.faults = lacking(syscall.EINVAL, "name")
	_, received := r.run(t)
	require.ErrorIs(t, received.err, ErrIncomplete)
	require.ErrorIs(t, received.err, ErrName)
	require.Equal(t, 1, received.Files)
}

// Old leftovers are removed without help from the app.
func TestCleanOnReceive(t *testing.T) {
	source, _ := folderOf(map[string]int{"a": 600 << 10})
	r := try{sources: []Source{source}, dir: t.TempDir(), cut: after(300 << 10)}
	r.run(t)
	old := time.Now().Add(-staleAfter - time.Hour)
	for _, name := range leftovers(t, r.dir) {
		require.NoError(t, os.Chtimes(filepath.Join(r.dir, partialDir, name), old, old))
	}
	r.cut, r.receive.From = nil, "another"
	_, received := r.run(t)
	require.NoError(t, received.err)
	require.Empty(t, leftovers(t, r.dir))
}

// Only an error that concerns the name shows that a file system is like
// Windows; if the folder has disappeared, it is created again.
func TestProbe(t *testing.T) {
	gone := errors.New("the folder is gone")
	for err, portable := range map[error]bool{
		syscall.EINVAL: true, syscall.EPERM: true, syscall.ENOENT: true, syscall.EMFILE: false, syscall.EIO: false, syscall.ENOSPC: false, gone: false,
	} {
		root, err2 := os.OpenRoot(t.TempDir())
		require.NoError(t, err2)
		once := failOnce("name", "", 1, err)
		vol := newVolume(root, false, func(op, name string) error {
			err := once(op, name)
			if err == gone {
				return root.Remove(partialDir)
			}
			return err
		})
		require.NoError(t, vol.enter(func() error { return nil }), err)
		require.Equal(t, portable, vol.style.portable, err)
		vol.leave()
		root.Close()
	}
}

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
