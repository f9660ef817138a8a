package block_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

func TestTransfer(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	for name, size := range map[string]int{
		"empty": 0, "one": 1, "chunk": 128 << 10, "chunk and one": 128<<10 + 1, "less": 128<<10 - 1, "large": 3<<20 + 77,
		"a/b/c/Grüße 日本 👩‍👩‍👧": 10, "a/b/.hidden": 3,
	} {
		put(t, filepath.Join(top, name), random(size, 1), 0o640)
	}
	require.NoError(t, os.Mkdir(filepath.Join(top, "nothing here"), 0o755))
	want := tree(t, top)
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(top, "link")))
	alone := put(t, filepath.Join(t.TempDir(), "alone.txt"), []byte("by itself"), 0o755)

	dir := t.TempDir()
	put(t, filepath.Join(dir, "alone.txt"), []byte("mine"), 0o600)
	for _, name := range []string{"top", "top (2)"} {
		a, b := pair(t)
		sent, received := move(t, a, b, block.Paths(top, alone), nil, dir, block.ReceiveOptions{Trusted: true, Modes: true, Times: true})
		for _, side := range []side{sent, received} {
			require.ErrorIs(t, side.err, block.ErrIncomplete)
			require.Len(t, side.Skipped, 1)
			require.Equal(t, 1, side.SkippedCount)
			require.Equal(t, "top/link", side.Skipped[0].Path)
			require.ErrorIs(t, side.Skipped[0], block.ErrIrregular)
		}
		require.Equal(t, want, tree(t, filepath.Join(dir, name)))
		require.Equal(t, 9, sent.Files)
		require.Equal(t, 9, received.Files)
		require.Equal(t, 5, received.Folders)
		require.Equal(t, 5, sent.Folders)
		require.Equal(t, sent.Bytes, received.Bytes)
		require.Equal(t, sent.Sent, received.Sent)
		require.NoFileExists(t, filepath.Join(dir, name, "link"))
	}
	require.NoDirExists(t, filepath.Join(dir, ".sdp2p-partial"))
	for name, content := range map[string]string{"alone.txt": "mine", "alone (2).txt": "by itself", "alone (3).txt": "by itself"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, content, string(got))
	}
	info, err := os.Stat(filepath.Join(dir, "alone (2).txt"))
	require.NoError(t, err)
	there, err := os.Stat(alone)
	require.NoError(t, err)
	require.Equal(t, there.Mode(), info.Mode())
	require.True(t, there.ModTime().Equal(info.ModTime()))
}

// Permissions are restored if that is asked for, and a file from a stranger
// never becomes executable.
func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such permissions")
	}
	tool := put(t, filepath.Join(t.TempDir(), "tool"), []byte("#!/bin/sh\n"), 0o750)
	for _, test := range []struct {
		opts block.ReceiveOptions
		mode os.FileMode
	}{
		{block.ReceiveOptions{Modes: true}, 0o640},
		{block.ReceiveOptions{Modes: true, Trusted: true}, 0o750},
	} {
		a, b := pair(t)
		dir := t.TempDir()
		_, received := move(t, a, b, block.Paths(tool), nil, dir, test.opts)
		require.NoError(t, received.err)
		info, err := os.Stat(filepath.Join(dir, "tool"))
		require.NoError(t, err)
		require.Equal(t, test.mode, info.Mode())
	}
	for _, opts := range []block.ReceiveOptions{{}, {Trusted: true}} {
		a, b := pair(t)
		dir := t.TempDir()
		_, received := move(t, a, b, block.Paths(tool), nil, dir, opts)
		require.NoError(t, received.err)
		info, err := os.Stat(filepath.Join(dir, "tool"))
		require.NoError(t, err)
		require.Zero(t, info.Mode()&0o111)
	}
}
