package block_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// Many small files take few operations, and the leftovers of other transfers
// are removed when they are old.
func TestManyAndClean(t *testing.T) {
	const n = 1500
	files := fstest.MapFS{}
	for i := range n {
		files[strings.Repeat("x", 1+i%50)+string(rune('a'+i%26))+string(rune('0'+i%10))+"/"+strings.Repeat("y", 1+i/50)] = &fstest.MapFile{Data: random(rand.IntN(5000), uint64(i))}
	}
	dir := t.TempDir()
	var told atomic.Int32
	a, b := pair(t)
	sent, received := move(t, a, b, []block.Source{{Name: "all", FS: files, Path: "."}}, nil, dir, block.ReceiveOptions{Received: func(f block.File, path string) { told.Add(1) }})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, len(files), received.Files)
	require.EqualValues(t, received.Files+received.Folders, told.Load())
	got := tree(t, filepath.Join(dir, "all"))
	for name, f := range files {
		require.Equal(t, string(f.Data), got[name])
	}

	_, received = cut(t, []block.Source{source("large", random(4<<20, 1))}, dir, 3<<20, block.ReceiveOptions{From: "a"})
	require.Error(t, received.err)
	root := open(t, dir)
	left := func() int {
		names, _ := os.ReadDir(filepath.Join(dir, ".sdp2p-partial"))
		return len(names)
	}
	require.Equal(t, 2, left())
	require.NoError(t, block.Clean(root, time.Hour))
	require.Equal(t, 2, left())
	old := time.Now().Add(-8 * 24 * time.Hour)
	names, err := os.ReadDir(filepath.Join(dir, ".sdp2p-partial"))
	require.NoError(t, err)
	for _, e := range names {
		require.NoError(t, os.Chtimes(filepath.Join(dir, ".sdp2p-partial", e.Name()), old, old))
	}
	a, b = pair(t)
	_, received = move(t, a, b, []block.Source{source("other", nil)}, nil, dir, block.ReceiveOptions{From: "b"})
	require.NoError(t, received.err)
	require.Zero(t, left())
}
