package block_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// alone is a reader that only one goroutine may read at a time.
type alone struct {
	*bytes.Reader
	reads int
	inUse bool
}

func (a *alone) ReadAt(p []byte, offset int64) (int, error) {
	if a.inUse {
		panic("it is read by two at a time")
	}
	a.inUse = true
	runtime.Gosched() // gives another reader a chance
	a.inUse = false
	a.reads++
	return a.Reader.ReadAt(p, offset)
}

// Only one goroutine at a time reads from an app's reader, even where several
// would read a file.
func TestReadersAlone(t *testing.T) {
	old := random(20*chunk, 1)
	dir := t.TempDir()
	for round, content := range [][]byte{old, every(bytes.Clone(old), 7*chunk, 5)} {
		r := &alone{Reader: bytes.NewReader(content)}
		s := block.Source{Name: "a", Reader: r, Size: int64(len(content)), ModTime: time.Unix(int64(round), 0)}
		_, received, _ := again(t, []block.Source{s}, dir, family(block.Keep))
		require.NoError(t, received.err)
		require.GreaterOrEqual(t, r.reads, 20)
		require.Equal(t, round > 0, received.Reused > 0)
	}
}

// If the disk is full while chunks are copied, the file ends, and the chunks
// copied before are there for the next attempt.
func TestCopyWithoutRoom(t *testing.T) {
	old := random(20*chunk, 1)
	from := put(t, filepath.Join(t.TempDir(), "a"), old, 0o640)
	dir := t.TempDir()
	_, received, _ := again(t, block.Paths(from), dir, family(block.Keep))
	require.NoError(t, received.err)
	want := every(bytes.Clone(old), 20*chunk, 12*chunk+5)
	rewrite(t, from, want)
	opts := family(block.Keep)
	opts.SetFaults(block.FailOnce("write", 11, syscall.ENOSPC))
	_, received, _ = again(t, block.Paths(from), dir, opts)
	require.Error(t, received.err)
	require.Zero(t, received.Files)
	copied := received.Reused
	require.Less(t, copied, int64(11*chunk))
	_, received, _ = again(t, block.Paths(from), dir, family(block.Keep))
	require.NoError(t, received.err)
	require.Equal(t, copied, received.Resumed)
	require.True(t, string(want) == readAll(t, filepath.Join(dir, "a (2)")))
	require.Equal(t, []string{"a", "a (2)"}, namesIn(t, dir))
}

// If copying a chunk fails for another reason, or the copy cannot be read back,
// only that chunk is sent again.
func TestCopyFails(t *testing.T) {
	old := random(20*chunk, 1)
	from := put(t, filepath.Join(t.TempDir(), "a"), old, 0o640)
	dir := t.TempDir()
	_, received, _ := again(t, block.Paths(from), dir, family(block.Keep))
	require.NoError(t, received.err)
	require.NoError(t, os.Chtimes(from, time.Time{}, time.Unix(1, 0)))
	opts := family(block.Keep)
	opts.SetFaults(block.FailOnce("write", 11, syscall.EIO))
	_, received, _ = again(t, block.Paths(from), dir, opts)
	require.NoError(t, received.err)
	require.EqualValues(t, 20*chunk, received.Reused+received.Sent)
	require.EqualValues(t, 20*chunk, received.Reused, "the pieces of the failed chunk are reused")
	require.True(t, string(old) == readAll(t, filepath.Join(dir, "a (2)")))
}
