//go:build unix && !solaris && !aix

package block

import (
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A disk is [os.DirFS](dir) with less work for each small file: creating an
// [os.File] takes longer than reading it.
type disk struct {
	dirFS
	dir string
}

// dirFS is the set of interfaces that the result of os.DirFS is documented to
// implement.
type dirFS interface {
	fs.StatFS
	fs.ReadDirFS
	fs.ReadFileFS
	fs.ReadLinkFS
}

func newDisk(dir string) fs.FS { return disk{os.DirFS(dir).(dirFS), dir} }

// openFile opens a file in fsys. If a pipe has taken the place of a file on
// disk, it does not block until a process opens the pipe for writing.
func openFile(fsys fs.FS, name string) (opened, error) {
	d, ok := fsys.(disk)
	if !ok {
		return fsys.Open(name)
	}
	f := &diskFile{path: d.dir + "/" + name}
	err := error(unix.EINTR)
	for err == unix.EINTR {
		f.fd, err = unix.Open(f.path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return fsys.Open(name) // it may have to wait, or returns the proper error
	}
	return f, nil
}

// A diskFile is a file that is open for reading.
type diskFile struct {
	path string
	fd   int
}

func (f *diskFile) ReadAt(p []byte, offset int64) (read int, err error) {
	for read < len(p) {
		n, err := unix.Pread(f.fd, p[read:], offset+int64(read))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return read, &os.PathError{Op: "read", Path: f.path, Err: err}
		case n == 0:
			return read, io.EOF
		}
		read += n
	}
	return read, nil
}

func (f *diskFile) Stat() (fs.FileInfo, error) {
	var s unix.Stat_t
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Fstat(f.fd, &s)
	}
	if err != nil {
		return nil, &os.PathError{Op: "stat", Path: f.path, Err: err}
	}
	i := newDiskInfo(f.path, &s)
	return &i, nil
}

func (f *diskFile) Close() error { return unix.Close(f.fd) }

func (f *diskFile) Seek(offset int64, whence int) (int64, error) {
	at, err := unix.Seek(f.fd, offset, whence)
	if err != nil {
		return 0, &os.PathError{Op: "seek", Path: f.path, Err: err}
	}
	return at, nil
}

// tree returns the file system to walk in place of fsys: that of a disk reads
// folders together with the Lstat result of each entry.
func tree(fsys fs.FS) fs.FS {
	if d, ok := fsys.(disk); ok {
		return diskTree{d}
	}
	return fsys
}

type diskTree struct{ disk }

const (
	maxLookers = 4   // goroutines that call lstat for the names of a folder
	fewNames   = 256 // names for one of them, before another one is started
)

func (d diskTree) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := os.OpenFile(d.dir+"/"+name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	infos, entries := make([]diskInfo, len(names)), make([]fs.DirEntry, len(names))
	fd := int(f.Fd())
	var lookers sync.WaitGroup
	step := max(fewNames, len(names)/maxLookers+1)
	for from := 0; from < len(names); from += step {
		lookers.Go(func() {
			for i := from; i < min(from+step, len(names)); i++ {
				infos[i] = lstat(fd, names[i])
				entries[i] = &infos[i]
			}
		})
	}
	lookers.Wait()
	return entries, err
}

func lstat(fd int, name string) diskInfo {
	var s unix.Stat_t
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Fstatat(fd, name, &s, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return diskInfo{name: name, err: &os.PathError{Op: "lstat", Path: name, Err: err}}
	}
	return newDiskInfo(name, &s)
}

// A diskInfo is an [fs.FileInfo] and an [fs.DirEntry].
type diskInfo struct {
	name    string
	mode    fs.FileMode // anything but a folder or a regular file is irregular
	size    int64
	modTime time.Time
	stored  int64 // bytes outside holes, as far as known
	err     error // if not nil, only the name is known
}

func newDiskInfo(name string, s *unix.Stat_t) diskInfo {
	mode := fs.FileMode(s.Mode) & fs.ModePerm
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	default:
		mode |= fs.ModeIrregular
	}
	return diskInfo{name: name, mode: mode, size: s.Size, modTime: time.Unix(s.Mtim.Unix()), stored: int64(s.Blocks) * 512}
}

func (i *diskInfo) Name() string               { return i.name }
func (i *diskInfo) Size() int64                { return i.size }
func (i *diskInfo) Mode() fs.FileMode          { return i.mode }
func (i *diskInfo) Type() fs.FileMode          { return i.mode.Type() }
func (i *diskInfo) ModTime() time.Time         { return i.modTime }
func (i *diskInfo) IsDir() bool                { return i.mode.IsDir() }
func (i *diskInfo) Sys() any                   { return nil }
func (i *diskInfo) storedBytes() int64         { return i.stored }
func (i *diskInfo) Info() (fs.FileInfo, error) { return i, i.err }

// readsTogether reports whether several goroutines may read f at the same time.
func readsTogether(f opened) bool {
	switch f.(type) {
	case *os.File, *diskFile:
		return true
	}
	return false
}
