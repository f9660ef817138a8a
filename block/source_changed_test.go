package block_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// A file that changes while it is sent does not get its name; the others
// arrive.
func TestChanged(t *testing.T) {
	top := t.TempDir()
	large := put(t, filepath.Join(top, "large"), random(8<<20, 1), 0o600)
	other := put(t, filepath.Join(top, "other"), []byte("other"), 0o600)
	for name, change := range map[string]func(t *testing.T) error{
		"longer":  func(*testing.T) error { return os.Truncate(large, 9<<20) },
		"shorter": func(*testing.T) error { return os.Truncate(large, 1<<20) },
		"touched": func(*testing.T) error { return os.Chtimes(large, time.Time{}, time.Unix(1, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			put(t, large, random(8<<20, 1), 0o600)
			a, b := pair(t)
			var once sync.Once
			dir := t.TempDir()
			m := &mangler{Conn: a, change: func(p []byte, offset int64) (err error) {
				if offset > 4<<20 {
					once.Do(func() { err = change(t) })
				}
				return err
			}}
			sent, received := move(t, m, b, block.Paths(large, other), nil, dir, block.ReceiveOptions{From: "a"})
			require.ErrorIs(t, sent.err, block.ErrChanged)
			require.ErrorIs(t, received.err, block.ErrChanged)
			require.NoFileExists(t, filepath.Join(dir, "large"))
			require.FileExists(t, filepath.Join(dir, "other"))
			a, b = pair(t)
			sent, received = move(t, a, b, block.Paths(large, other), nil, dir, block.ReceiveOptions{From: "a"})
			require.NoError(t, sent.err)
			require.NoError(t, received.err)
			require.NoError(t, same(large, filepath.Join(dir, "large")))
			require.NoFileExists(t, filepath.Join(dir, "other (2)"))
		})
	}
}

type failing struct {
	io.ReaderAt
	at int64
}

func (f failing) ReadAt(b []byte, offset int64) (int, error) {
	if offset >= f.at {
		return 0, errors.New("bad sector")
	}
	return f.ReaderAt.ReadAt(b, offset)
}

func TestReadError(t *testing.T) {
	bad := source("bad", random(2<<20, 1))
	bad.Reader = failing{bad.Reader, 1 << 20}
	gone := block.Source{Name: "fs", FS: fstest.MapFS{"in/a": {Data: []byte("a"), ModTime: time.Unix(5, 0)}, "b": {}}, Path: "."}
	a, b := pair(t)
	dir := t.TempDir()
	sent, received := move(t, a, b, []block.Source{bad, gone}, nil, dir, block.ReceiveOptions{Times: true})
	require.ErrorIs(t, sent.err, block.ErrRead)
	require.ErrorContains(t, sent.err, "bad sector")
	require.ErrorIs(t, received.err, block.ErrRead)
	require.NotContains(t, received.err.Error(), "bad sector")
	require.Equal(t, map[string]string{".": "d---------", "fs": "d---------", "fs/in": "d---------", "fs/in/a": "a", "fs/b": ""}, tree(t, dir))
	a, b = pair(t)
	sent, received = move(t, a, b, block.Paths(filepath.Join(dir, "missing")), nil, dir, block.ReceiveOptions{})
	require.ErrorIs(t, sent.err, os.ErrNotExist)
	require.ErrorIs(t, received.err, block.ErrRead)
}
