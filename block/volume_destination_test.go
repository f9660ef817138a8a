package block_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// A symbolic link in the destination does not lead out of it, and an existing
// name stays as it is.
func TestDestination(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Skip("there are no symbolic links:", err)
	}
	require.NoError(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(dir, "dangling")))
	top := filepath.Join(t.TempDir(), "link")
	put(t, filepath.Join(top, "x"), []byte("x"), 0o600)
	a, b := pair(t)
	sent, received := move(t, a, b, append(block.Paths(top), source("dangling", []byte("d"))), nil, dir, block.ReceiveOptions{})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, map[string]string{".": "d---------"}, tree(t, outside))
	got := tree(t, dir)
	require.Equal(t, "x", got["link (2)/x"])
	require.Equal(t, "d", got["dangling (2)"])

	// A symbolic link is planted where files are stored, after the offer.
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, ".sdp2p-partial")))
	a, b = pair(t)
	_, received = move(t, a, b, []block.Source{source("y", []byte("y"))}, nil, dir, block.ReceiveOptions{})
	require.ErrorIs(t, received.err, block.ErrWrite)
	require.Equal(t, map[string]string{".": "d---------"}, tree(t, outside))
}

func TestDestinationRemoved(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open folder cannot be removed")
	}
	dir := filepath.Join(t.TempDir(), "dest")
	require.NoError(t, os.Mkdir(dir, 0o755))
	a, b := pair(t)
	var once sync.Once
	m := &mangler{Conn: a, change: func(_ []byte, offset int64) error {
		if offset > 1<<20 {
			once.Do(func() { os.RemoveAll(dir) })
		}
		return nil
	}}
	sent, received := move(t, m, b, []block.Source{source("f", random(2<<20, 1)), source("g", []byte("g"))}, nil, dir, block.ReceiveOptions{})
	require.ErrorIs(t, received.err, block.ErrWrite)
	require.ErrorIs(t, sent.err, block.ErrWrite)
}

// The disk is full: this is known beforehand, or found out halfway.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs root on Linux, to mount a small file system")
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "block-test", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount: %v: %s", err, out)
	}
	t.Cleanup(func() { require.NoError(t, exec.Command("umount", "-l", dir).Run()) })
	a, b := pair(t)
	sources := []block.Source{source("f", random(5<<20, 1))}
	sent, received := move(t, a, b, sources, nil, dir, block.ReceiveOptions{From: "a"})
	var space *block.SpaceError
	require.ErrorAs(t, received.err, &space)
	require.EqualValues(t, 5<<20, space.Needed)
	require.ErrorIs(t, sent.err, block.ErrDiskFull)
	require.ErrorContains(t, sent.err, "5.2 MB are needed")

	fill := put(t, filepath.Join(dir, "fill"), make([]byte, 1<<20), 0o600)
	sources = []block.Source{source("f", random(3<<19, 1))}
	a, b = pair(t)
	var once sync.Once
	m := &mangler{Conn: a, change: func(_ []byte, offset int64) (err error) {
		if offset > 1<<19 {
			once.Do(func() { os.WriteFile(filepath.Join(dir, "more"), make([]byte, 3<<20), 0o600) })
		}
		return err
	}}
	sent, received = move(t, m, b, sources, nil, dir, block.ReceiveOptions{From: "a"})
	require.ErrorIs(t, received.err, block.ErrDiskFull)
	require.ErrorIs(t, sent.err, block.ErrDiskFull)
	require.NoFileExists(t, filepath.Join(dir, "f"))
	require.NoError(t, os.Remove(fill))
	require.NoError(t, os.Remove(filepath.Join(dir, "more")))
	a, b = pair(t)
	_, received = move(t, a, b, sources, nil, dir, block.ReceiveOptions{From: "a"})
	require.NoError(t, received.err)
}
