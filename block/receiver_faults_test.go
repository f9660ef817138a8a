package block

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// If a file cannot be created, written or placed for a reason that concerns it
// alone, only that file fails. Both sides know which one it is, and the next
// attempt brings it.
func TestOneFileFails(t *testing.T) {
	sizes := map[string]int{"1 small": 5, "2 large": 300 << 10, "3 large": 400 << 10, "4 small": 6}
	for name, test := range map[string]struct {
		faults func(op, name string) error
		failed string
	}{
		"created": {failOnce("create", "", 2, syscall.EACCES), "top/2 large"},
		"stored":  {failOnce("create", "", 4, syscall.EIO), "top/4 small"},
		"written": {failOnce("write", "", 4, syscall.EFBIG), "top/3 large"},
		"synced":  {failOnce("sync", ".1", 1, syscall.EIO), "top/2 large"},
		"placed": {func(op, name string) error { // as on a disk without hard links
			if op == "link" || op == "rename" || op == "place" && name == "top/1 small" {
				return syscall.EIO
			}
			return nil
		}, "top/1 small"},
	} {
		t.Run(name, func(t *testing.T) {
			source, want := folderOf(sizes)
			r := try{sources: []Source{source}, dir: t.TempDir()}
			r.receive.faults = test.faults
			sent, received := r.run(t)
			for _, side := range []outcome{sent, received} {
				var missing *IncompleteError
				require.ErrorAs(t, side.err, &missing)
				require.ErrorIs(t, side.err, ErrIncomplete)
				require.ErrorIs(t, side.err, ErrWrite)
				require.Equal(t, 1, missing.Missing)
				require.Equal(t, test.failed, missing.First.Path)
				require.Equal(t, 3, side.Files)
			}
			require.Len(t, contents(t, filepath.Join(r.dir, "top")), 3)
			r.receive.faults = nil
			sent, received = r.run(t)
			require.NoError(t, sent.err)
			require.NoError(t, received.err)
			require.Equal(t, want, contents(t, filepath.Join(r.dir, "top")))
			require.Empty(t, leftovers(t, r.dir))
		})
	}
}

// A file that the receiver gives up is not sent any further.
func TestGivenUp(t *testing.T) {
	const size = 256 << 20
	r := try{dir: t.TempDir(), sources: []Source{
		{Name: "a", Reader: zeroReader{}, Size: size}, {Name: "b", Reader: strings.NewReader("hello"), Size: 5},
	}}
	r.receive.NoSpaceCheck = true
	r.receive.faults = failOnce("write", "", 3, syscall.EFBIG)
	sent, received := r.run(t)
	require.ErrorIs(t, sent.err, ErrIncomplete)
	require.ErrorIs(t, received.err, ErrIncomplete)
	require.Equal(t, 1, received.Files)
	require.Less(t, sent.Sent, int64(size/8))
}

// An error that concerns the destination as a whole aborts the transfer, and is
// reported as such.
func TestDestinationFails(t *testing.T) {
	sizes := map[string]int{"1": 5, "2": 300 << 10, "3": 6}
	for name, test := range map[string]struct {
		faults func(op, name string) error
		want   error
	}{
		"no space":           {failOnce("write", "", 2, syscall.ENOSPC), ErrDiskFull},
		"no quota":           {failOnce("create", "", 2, syscall.EDQUOT), ErrDiskFull},
		"no quota for bytes": {failOnce("sync", ".1", 1, syscall.EDQUOT), ErrDiskFull},
		"read-only":          {failOnce("create", "", 1, syscall.EROFS), ErrWrite},
		"journal":            {failOnce("journal", "", 3, syscall.EIO), ErrWrite},
		"journal of folders": {failOnce("journal", "", 2, syscall.EIO), ErrWrite},
		"journal on disk":    {failOnce("sync", ".journal", 1, syscall.EIO), ErrWrite},
	} {
		t.Run(name, func(t *testing.T) {
			source, want := folderOf(sizes)
			r := try{sources: []Source{source}, dir: t.TempDir()}
			r.receive.faults = test.faults
			sent, received := r.run(t)
			for _, side := range []outcome{sent, received} {
				require.ErrorIs(t, side.err, test.want)
				require.NotErrorIs(t, side.err, ErrIncomplete)
			}
			var peer *PeerError
			require.ErrorAs(t, sent.err, &peer)
			r.receive.faults = nil
			sent, received = r.run(t)
			require.NoError(t, sent.err)
			require.NoError(t, received.err)
			require.Equal(t, want, contents(t, filepath.Join(r.dir, "top")))
		})
	}
}

// Complete files get their names even if the transfer ends before their batch
// is full: because it is cut, the disk is full, or the app ends it.
func TestWholeFilesArePlaced(t *testing.T) {
	sizes := map[string]int{"1": 5, "2": 300 << 10, "3": 64, "4": 2 << 20}
	full := func(op, name string) error {
		if op == "write" && strings.HasSuffix(name, ".3") {
			return syscall.ENOSPC
		}
		return nil
	}
	for name, change := range map[string]func(r *try){
		"cut":  func(r *try) { r.cut = after(900 << 10) },
		"full": func(r *try) { r.receive.faults = full },
	} {
		t.Run(name, func(t *testing.T) {
			source, want := folderOf(sizes)
			r := try{sources: []Source{source}, dir: t.TempDir()}
			change(&r)
			var told []string
			r.receive.Received = func(_ File, path string) { told = append(told, path) }
			_, received := r.run(t)
			require.Error(t, received.err)
			require.Equal(t, 3, received.Files)
			delete(want, "4")
			require.Equal(t, want, contents(t, filepath.Join(r.dir, "top")))
			require.Equal(t, []string{"top", "top/1", "top/2", "top/3"}, told)
		})
	}
}

// If a folder cannot be made, it fails together with the files in it, and
// nothing else does.
func TestFolderFails(t *testing.T) {
	source, _ := folderOf(map[string]int{"a/x": 5, "b/x": 6, "b/in/y": 7, "c": 8, "d": 1 << 20})
	r := try{sources: []Source{source}, dir: t.TempDir(), cut: after(600 << 10)}
	r.run(t)
	b := filepath.Join(r.dir, "top", "b")
	require.NoError(t, os.RemoveAll(b))
	require.NoError(t, os.WriteFile(b, nil, 0o600)) // now a file is in the folder's place
	r.cut = nil
	sent, received := r.run(t)
	for _, side := range []outcome{sent, received} {
		require.ErrorIs(t, side.err, ErrIncomplete)
		var missing []string
		for _, s := range side.Skipped {
			missing = append(missing, s.Path)
		}
		require.ElementsMatch(t, []string{"top/b", "top/b/in", "top/b/in/y", "top/b/x"}, missing)
		require.Equal(t, 3, side.Files)
		require.Equal(t, 2, side.Folders)
	}
}

// A disk reports lost writes only once. It may report them while the file still
// arrives, at its end, or for all files together; in each case none of them
// gets its name, and the next attempt does not assume that the data is there.
func TestLostWrites(t *testing.T) {
	r := try{dir: t.TempDir(), sources: []Source{{Name: "large", Reader: zeroReader{}, Size: syncEvery + 5<<20}}}
	r.receive.faults = failOnce("sync", "", 1, syscall.EIO)
	_, received := r.run(t)
	require.ErrorIs(t, received.err, ErrIncomplete)
	require.ErrorIs(t, received.err, errLost)
	require.NoFileExists(t, filepath.Join(r.dir, "large"))
	r.receive.faults = nil
	_, received = r.run(t)
	require.NoError(t, received.err)
	require.Zero(t, received.Resumed)

	r = try{dir: t.TempDir(), sources: []Source{{Name: "some", Reader: zeroReader{}, Size: 300 << 10}}}
	r.receive.faults = failOnce("sync", ".0", 1, syscall.EIO)
	_, received = r.run(t)
	require.ErrorIs(t, received.err, syscall.EIO)
	r.receive.faults = nil
	_, received = r.run(t)
	require.NoError(t, received.err)
	require.Zero(t, received.Resumed)

	sizes := map[string]int{}
	for i := range 3 * fewSyncs {
		sizes[fmt.Sprint(i)] = 10
	}
	source, want := folderOf(sizes)
	r = try{dir: t.TempDir(), sources: []Source{source}}
	r.receive.faults = failOnce("syncfs", "", 1, syscall.EIO)
	sent, received := r.run(t)
	require.ErrorIs(t, sent.err, ErrIncomplete)
	require.ErrorIs(t, received.err, syscall.EIO)
	require.Zero(t, received.Files)
	require.Empty(t, contents(t, filepath.Join(r.dir, "top")))
	r.receive.faults = nil
	_, received = r.run(t)
	require.NoError(t, received.err)
	require.Equal(t, want, contents(t, filepath.Join(r.dir, "top")))
}

// Data from an earlier attempt that cannot be read is sent again.
func TestUnreadablePartial(t *testing.T) {
	source, want := folderOf(map[string]int{"a": 900 << 10})
	r := try{sources: []Source{source}, dir: t.TempDir(), cut: after(600 << 10)}
	r.run(t)
	r.cut, r.receive.faults = nil, failOnce("read", "", 3, syscall.EIO)
	_, received := r.run(t)
	require.NoError(t, received.err)
	require.EqualValues(t, 2*128<<10, received.Resumed)
	require.Equal(t, want, contents(t, filepath.Join(r.dir, "top")))
}

// A file that the receiver cannot write is not sent any further.
func TestEndsEarly(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := play(t, dir, []Source{slowly(&wantedFile{path: "top/a", size: 30 * piece}, &wantedFile{path: "top/b", size: 10})}, 0, failing(3), nil)
		require.ErrorIs(t, m.err, ErrWrite)
		require.ErrorIs(t, m.sendErr, ErrWrite)
		require.Equal(t, 1, m.received.Files)
		require.Equal(t, 1, m.sent.Files)
		require.Less(t, m.here.written, int64(8*piece))
		require.Equal(t, 1, m.here.referee.seen["receiver taking 9"])
		require.Equal(t, 1, m.here.referee.seen["sender file 9"])
		require.FileExists(t, filepath.Join(dir, "top", "b"))
	})
}
