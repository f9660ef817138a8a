package block

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

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
