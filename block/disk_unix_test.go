//go:build unix && !solaris && !aix

package block

import (
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A disk contains the same as os.DirFS, and its files are read in the same way.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"b": "b", "a/c": "content", "a/empty": "", "a/b/c": "c", "Z": "z"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o640))
	}
	require.NoError(t, os.Chtimes(filepath.Join(dir, "b"), time.Time{}, time.Unix(1, 2)))
	require.NoError(t, os.Chmod(filepath.Join(dir, "a/empty"), 0o400))
	for name, target := range map[string]string{"link": "b", "to folder": "a", "dangling": "nowhere"} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))

	type seen struct {
		path    string
		mode    fs.FileMode
		size    int64
		modTime time.Time
	}
	walk := func(fsys fs.FS) (all []seen) {
		require.NoError(t, fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
			require.NoError(t, err)
			info, err := d.Info()
			require.NoError(t, err)
			require.Equal(t, []any{filepath.Base(p), d.Name(), d.Type(), d.IsDir()}, []any{info.Name(), info.Name(), info.Mode().Type(), info.IsDir()})
			s := seen{p, info.Mode(), info.Size(), info.ModTime()}
			if !info.IsDir() && !info.Mode().IsRegular() {
				s = seen{path: p, mode: fs.ModeIrregular}
			}
			all = append(all, s)
			return nil
		}))
		return all
	}
	source := Path(filepath.Join(dir, "a"))
	disk := source.FS
	require.Equal(t, walk(os.DirFS(dir)), walk(tree(disk)))
	require.NoError(t, fstest.TestFS(Path(filepath.Join(dir, "a/b/c")).FS, "c"))
	_, err := fs.ReadDir(tree(disk), "b")
	require.Error(t, err)
	_, err = fs.ReadDir(tree(disk), "pipe")
	require.Error(t, err)
	_, err = fs.ReadDir(tree(disk), "none")
	require.ErrorIs(t, err, fs.ErrNotExist)

	f, err := openFile(disk, "a/c")
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	want, err := os.Stat(filepath.Join(dir, "a/c"))
	require.NoError(t, err)
	require.Equal(t, []any{want.Mode(), want.Size(), want.ModTime()}, []any{info.Mode(), info.Size(), info.ModTime()})
	for offset, want := range map[int64]string{0: "cont", 3: "tent", 5: "nt", 7: "", 9: ""} {
		b := make([]byte, 4)
		n, err := f.(io.ReaderAt).ReadAt(b, offset)
		require.Equal(t, want, string(b[:n]))
		if len(want) < 4 {
			require.Equal(t, io.EOF, err)
		} else {
			require.NoError(t, err)
		}
	}
	require.NoError(t, f.Close())
	closed := &diskFile{path: "x", fd: -1}
	_, err = closed.Stat()
	require.ErrorIs(t, err, unix.EBADF)
	_, err = closed.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, unix.EBADF)
	_, err = openFile(disk, "a/none")
	_, want2 := os.DirFS(dir).Open("a/none")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.IsType(t, want2, err)
}

// If something else replaces a file between the offer and its turn, the sender
// detects it, and does not block on it. A symbolic link is followed, as by
// os.DirFS.
func TestDiskReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	other := filepath.Join(dir, "other")
	require.NoError(t, os.WriteFile(other, []byte("content"), 0o600))
	info, err := os.Stat(other)
	require.NoError(t, err)
	s := Source{Name: "f", FS: newDisk(dir), Path: "f", ids: newIDs()}
	e := s.newEntry("", info.Mode(), info.Size(), info.ModTime())
	for name, make := range map[string]func() error{
		"pipe":     func() error { return unix.Mkfifo(path, 0o600) },
		"folder":   func() error { return os.Mkdir(path, 0o700) },
		"device":   func() error { return os.Symlink("/dev/zero", path) },
		"file":     func() error { return os.WriteFile(path, []byte("longer content"), 0o600) },
		"socket":   func() error { _, err := net.Listen("unix", path); return err },
		"dangling": func() error { return os.Symlink("none", path) },
		"link":     func() error { return os.Symlink("other", path) },
	} {
		require.NoError(t, make(), name)
		c, err := s.open(e)
		switch name {
		case "link":
			require.NoError(t, err)
			b := []byte("1234567")
			require.NoError(t, c.read(b, 0))
			require.Equal(t, "content", string(b))
			require.NoError(t, c.check())
			c.close()
		case "socket", "dangling":
			require.ErrorIs(t, err, ErrRead, name)
		default:
			require.ErrorIs(t, err, ErrChanged, name)
		}
		require.NoError(t, os.RemoveAll(path))
	}
}

// No file descriptor is left open, whether a file is sent or was changed.
func TestDescriptors(t *testing.T) {
	open := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("the system does not list open files:", err)
		}
		return len(all)
	}
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte("content"), 0o600))
	s := Path(path)
	s.ids = newIDs()
	info, err := os.Stat(path)
	require.NoError(t, err)
	before := open()
	for i := range 100 {
		c, err := s.open(s.newEntry("", 0o600, info.Size()+int64(i%2), info.ModTime()))
		if i%2 == 1 {
			require.ErrorIs(t, err, ErrChanged)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, c.read(make([]byte, 7), 0))
		c.close()
	}
	require.Less(t, open(), before+50)
}
