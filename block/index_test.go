package block

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// newTestIndex opens the index of a sender in dir; shut closes it.
func newTestIndex(t require.TestingT, dir, from string) (x *index, shut func()) {
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	vol := newVolume(root, true, nil)
	require.NoError(t, vol.enter(func() error { return nil }))
	x = openIndex(vol, from)
	require.NotNil(t, x)
	return x, func() {
		x.close()
		vol.leave()
		root.Close()
	}
}

func (x *index) path(dir string) string { return filepath.Join(dir, partialDir, x.key.name) }

// rowOf returns the row of a file that a test has placed.
func rowOf(path string, size int64) *row {
	m := &row{offered: path, here: path, seconds: size, ident: ident{device: 1, file: uint64(size) + 1, size: size, kind: regularKind}}
	for range chunkCount(size, blockSize(size)) {
		m.hashes = append(m.hashes, hash{byte(size)})
	}
	return m
}

// If an index is cut anywhere, or any byte of it is altered, some of its rows
// are read as they were written, and no others.
func TestIndexBroken(t *testing.T) {
	dir := t.TempDir()
	x, shut := newTestIndex(t, dir, "a")
	all := map[string]*row{}
	for i := range 20 {
		m := rowOf(fmt.Sprint("file ", i), int64(i*100_000))
		all[m.offered] = m
		x.add([]*row{m})
	}
	x.record(7, 8)
	at := x.path(dir)
	shut()
	whole, err := os.ReadFile(at)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		b := append([]byte(nil), whole...)
		if rapid.Bool().Draw(t, "cut") {
			b = b[:rapid.IntRange(0, len(b)).Draw(t, "at")]
		} else {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		require.NoError(t, os.WriteFile(at, b, 0o600))
		x, shut := newTestIndex(t, dir, "a")
		defer shut()
		x.add([]*row{rowOf("new", 5)})
		for path, want := range all {
			if _, got := x.find(path, func(string) ident { return want.ident }); got != nil {
				require.Equal(t, want.here, got.here)
				require.True(t, slices.Equal(want.hashes, x.row(x.rows[rowKey(path)]).hashes))
			}
		}
		_, got := x.find("new", func(string) ident { return rowOf("new", 5).ident })
		require.NotNil(t, got)
	})
}

// An index that has grown is rewritten without rows that were superseded twice.
func TestIndexRewritten(t *testing.T) {
	dir := t.TempDir()
	x, shut := newTestIndex(t, dir, "a")
	for i := range 5 {
		for n := range int64(4000) {
			x.add([]*row{rowOf(fmt.Sprint("file ", n), int64(i))})
		}
	}
	x.addFolder("top", "top (2)", ident{device: 1, file: 2, kind: folderKind})
	x.record(100, 0)
	x.spend(30)
	x.record(0, 30)
	before := x.size
	shut()
	x, shut = newTestIndex(t, dir, "a")
	defer shut()
	require.Less(t, x.size, before/2)
	require.Len(t, x.rows, 4000)
	for n := range 4000 {
		for _, size := range []int64{4, 3} { // the newest row, and the one before it
			m := rowOf(fmt.Sprint("file ", n), size)
			_, got := x.find(m.offered, func(string) ident { return m.ident })
			require.NotNil(t, got)
		}
	}
	here, ok := x.folder("top", func(string) ident { return ident{device: 1, file: 2, kind: folderKind} })
	require.True(t, ok)
	require.Equal(t, "top (2)", here)
	require.EqualValues(t, 170, x.spent.left(time.Now()))
}

// A sender can make the receiver hash at most twice the amount that it has
// sent, and 1 GiB an hour.
func TestIndexSpending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &index{}
		require.False(t, x.spend(1))
		x.spent.add(1000, 0, time.Now())
		require.True(t, x.spend(2000))
		require.False(t, x.spend(1))
		x.spent.add(1<<40, 0, time.Now())
		require.True(t, x.spend(hashingBytes-2000))
		require.False(t, x.spend(1))
		time.Sleep(59 * time.Minute)
		require.False(t, x.spend(1))
		time.Sleep(time.Minute)
		require.True(t, x.spend(hashingBytes))
		require.False(t, x.spend(1))
	})
}

// Hashing that was recorded while the clock was years ahead does not count for
// years: neither in the index in use, nor in one that is read again.
func TestIndexClockSetBack(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	x, shut := newTestIndex(t, dir, "a")
	x.add([]*row{rowOf("a", 1)})
	x.record(1<<40, 0)
	x.append(appendSpent(nil, 0, spentAt{now.AddDate(5, 0, 0), hashingBytes}))
	x.append(appendSpent(nil, 0, spentAt{now, 100}))
	x.append(appendSpent(nil, 0, spentAt{now.Add(2 * time.Minute), 10})) // a little ahead
	shut()
	x, shut = newTestIndex(t, dir, "a")
	defer shut()
	require.EqualValues(t, hashingBytes-110, x.spent.left(now))
	x.spent.add(0, 1000, now.AddDate(5, 0, 0))
	require.True(t, x.spend(hashingBytes-110))
	require.False(t, x.spend(1))
}

// A system may give a disk another device number when it is connected again, or
// after a restart: its files are still recognized. Files on another disk that
// is mounted below the folder keep their number.
func TestIndexOtherDevice(t *testing.T) {
	dir := t.TempDir()
	x, shut := newTestIndex(t, dir, "a")
	own, other := rowOf("own", 1), rowOf("other", 2)
	own.ident.device, other.ident.device = x.key.device, x.key.device+1
	x.add([]*row{own, other})
	x.addFolder("top", "top (2)", ident{device: x.key.device, file: 2, kind: folderKind})
	shut()
	for _, device := range []uint64{0, 7, 8} { // 0: no change
		x, shut = newTestIndex(t, dir, "a")
		was := x.key.device
		if device != 0 {
			x.key.device = device
			x.load()
			x.rewrite(&volume{faults: func(string, string) error { return nil }})
		}
		now := own.ident
		now.device = x.key.device
		_, got := x.find("own", func(string) ident { return now })
		require.NotNil(t, got)
		require.Equal(t, now, got.ident)
		_, got = x.find("other", func(string) ident { return other.ident })
		require.NotNil(t, got)
		_, ok := x.folder("top", func(string) ident { return ident{device: x.key.device, file: 2, kind: folderKind} })
		require.True(t, ok)
		x.key.device = was
		shut()
	}
}

// An empty index is removed. While one process has an index open, another
// process gets none.
func TestIndexAlone(t *testing.T) {
	dir := t.TempDir()
	x, shut := newTestIndex(t, dir, "a")
	at := x.path(dir)
	y, shutToo := newTestIndex(t, dir, "a")
	require.Same(t, x, y)
	other := openWithout(t, dir, x)
	require.Nil(t, other)
	shut()
	require.FileExists(t, at)
	shutToo()
	require.NoFileExists(t, at)
	_, err := os.Stat(filepath.Join(dir, partialDir))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// openWithout opens an index like another process, which does not know of x.
func openWithout(t *testing.T, dir string, x *index) *index {
	indexes.Lock()
	delete(indexes.m, x.key)
	indexes.Unlock()
	defer func() {
		indexes.Lock()
		indexes.m[x.key] = x
		indexes.Unlock()
	}()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	vol := newVolume(root, true, nil)
	require.NoError(t, vol.enter(func() error { return nil }))
	defer vol.closePartial()
	return openIndex(vol, "a")
}
