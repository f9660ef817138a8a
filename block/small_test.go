package block_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// Small files travel together. If one of them changes, disappears or is
// corrupted, no other one is affected.
func TestSmallAlone(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	want := map[string]string{}
	for i := range 300 {
		content := random(i*7, uint64(i))
		put(t, filepath.Join(top, fmt.Sprintf("%03d", i)), content, 0o600)
		want[fmt.Sprintf("%03d", i)] = string(content)
	}
	spoiled := marked(100_000, 0)
	put(t, filepath.Join(top, "150"), spoiled, 0o600)
	want["150"] = string(spoiled)
	a, b := pair(t)
	dir := t.TempDir()
	sent, received := move(t, &mangler{Conn: a, change: spoil(2)}, b, block.Paths(top), func(context.Context, *block.Offer) error {
		require.NoError(t, os.Chtimes(filepath.Join(top, "020"), time.Time{}, time.Unix(1, 1)))
		require.NoError(t, os.WriteFile(filepath.Join(top, "030"), []byte("longer than it was before, by some bytes"), 0o600))
		require.NoError(t, os.Truncate(filepath.Join(top, "200"), 100))
		require.NoError(t, os.Remove(filepath.Join(top, "299")))
		return nil
	}, dir, block.ReceiveOptions{From: "a"})
	failed := map[string]error{"020": block.ErrChanged, "030": block.ErrChanged, "200": block.ErrChanged, "299": block.ErrRead}
	for _, side := range []side{sent, received} {
		require.Len(t, side.Skipped, len(failed))
		for _, s := range side.Skipped {
			require.ErrorIs(t, s, failed[filepath.Base(s.Path)])
		}
		require.Equal(t, 296, side.Files)
		require.NotZero(t, side.Repaired)
	}
	for name := range failed {
		delete(want, name)
	}
	got := tree(t, filepath.Join(dir, "top"))
	delete(got, ".")
	require.Equal(t, want, got)
}

// Another program puts a file into the folder that is being received: that file
// stays, and ours gets another name.
func TestSmallTaken(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	want := map[string]string{".": "d---------", "in": "d---------"}
	for _, name := range []string{"a", "b", "in/c"} {
		put(t, filepath.Join(top, name), []byte(name), 0o600)
		want[name] = name
	}
	want["a"], want["a (2)"] = "mine", "a"
	a, b := pair(t)
	dir := t.TempDir()
	sent, received := move(t, a, b, block.Paths(top), nil, dir, block.ReceiveOptions{From: "a", Received: func(f block.File, path string) {
		if f.Path == "top" {
			put(t, filepath.Join(dir, "top", "a"), []byte("mine"), 0o600)
		}
	}})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, want, tree(t, filepath.Join(dir, "top")))
}

// All folders get their times back, although files came into them later.
func TestFolderTimes(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	folders := []string{"a/b", "a", "c", "."}
	for _, name := range folders {
		put(t, filepath.Join(top, name, "file"), []byte(name), 0o600)
	}
	for i, name := range folders {
		require.NoError(t, os.Chtimes(filepath.Join(top, name), time.Time{}, time.Unix(int64(1e9+i), 0)))
	}
	a, b := pair(t)
	dir := t.TempDir()
	sent, received := move(t, a, b, block.Paths(top), nil, dir, block.ReceiveOptions{From: "a", Times: true})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	for i, name := range folders {
		info, err := os.Stat(filepath.Join(dir, "top", name))
		require.NoError(t, err)
		require.EqualValues(t, 1e9+i, info.ModTime().Unix(), name)
	}
}

// A small file that changes or ends early while it is read fails, and the files
// after it in the same buffer are not affected.
func TestSmallChanging(t *testing.T) {
	files := fstest.MapFS{"1": {Data: []byte("one")}, "2": {Data: []byte("two")}, "3": {Data: []byte("three")}, "4": {Data: []byte("four")}, "5": {}}
	a, b := pair(t)
	dir := t.TempDir()
	sent, received := move(t, a, b, []block.Source{{Name: "all", FS: changing{files}, Path: "."}}, nil, dir, block.ReceiveOptions{})
	require.ErrorIs(t, sent.err, block.ErrChanged)
	require.ErrorIs(t, received.err, block.ErrChanged)
	require.Equal(t, map[string]string{".": "d---------", "1": "one", "3": "three", "5": ""}, tree(t, filepath.Join(dir, "all")))
}

// changing is a file system with a file "2" that every read changes, and a file
// "4" that ends early.
type changing struct{ fstest.MapFS }

func (c changing) Open(name string) (fs.File, error) {
	f, err := c.MapFS.Open(name)
	switch name {
	case "2":
		f = &touched{File: f}
	case "4":
		f = ending{f}
	}
	return f, err
}

type touched struct {
	fs.File
	read bool
}

func (f *touched) Read(b []byte) (int, error) {
	f.read = true
	return f.File.Read(b)
}

func (f *touched) Stat() (fs.FileInfo, error) {
	info, err := f.File.Stat()
	if f.read {
		info, err = fs.Stat(fstest.MapFS{"2": {Data: []byte("two"), ModTime: time.Unix(1, 0)}}, "2")
	}
	return info, err
}

type ending struct{ fs.File }

func (ending) Read([]byte) (int, error) { return 0, io.EOF }
