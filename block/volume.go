package block

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// A volume is the destination folder of a transfer, with the features of its
// file system. It may be used by several goroutines at once.
type volume struct {
	root    *os.Root
	partial *os.Root // partialDir; nil until enter
	dir     *handle  // nil until enter
	style   style    // of names in it
	faults  func(op, name string) error

	renumbers bool // whether a file may get another number: see the function of that name

	mu    sync.Mutex
	lacks Lacks
}

// newVolume returns the volume of a folder. Tests pass a function faults, which
// is called before each operation; if it returns an error, the operation fails
// with that.
func newVolume(root *os.Root, trusted bool, faults func(op, name string) error) *volume {
	if faults == nil {
		faults = func(string, string) error { return nil }
	}
	return &volume{root: root, style: style{hidden: trusted, portable: runtime.GOOS == "windows"}, faults: faults}
}

// enter creates and opens partialDir, and calls use, which creates a file in
// it. It tries again if another transfer, which removes an empty partialDir at
// its end, has removed the folder meanwhile.
func (v *volume) enter(use func() error) (err error) {
	for range 100 {
		if err = v.openPartial(); err == nil {
			err = use()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		v.closePartial()
	}
	return err
}

func (v *volume) openPartial() (err error) {
	if v.partial != nil {
		return nil
	}
	if err = v.root.Mkdir(partialDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if v.partial, err = v.root.OpenRoot(partialDir); err != nil {
		v.partial = nil
		return err
	}
	if v.dir, err = newHandle(v.partial); err != nil {
		v.dir = nil
		return err
	}
	v.renumbers = v.faults("numbers", partialDir) != nil || renumbers(v.partial)
	return v.probe()
}

func (v *volume) closePartial() {
	if v.dir != nil {
		v.dir.close()
	}
	if v.partial != nil {
		v.partial.Close()
	}
	v.dir, v.partial, v.style.portable = nil, nil, runtime.GOOS == "windows"
}

// probe finds out whether the file system accepts names that Windows refuses.
func (v *volume) probe() error {
	const name = "name:?" // not the name of a journal
	if v.style.portable {
		return nil
	}
	err := v.faults("name", name)
	if err == nil {
		var f *os.File
		if f, err = v.partial.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
			f.Close()
			v.partial.Remove(name)
		}
	}
	missing := errors.Is(err, fs.ErrNotExist) // partialDir is gone, or exFAT through FUSE rejects the name
	if missing && !v.here() {
		return err
	}
	v.style.portable = missing || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EILSEQ) || unsupported(err)
	return nil
}

// here reports whether the partial folder is still in its place.
func (v *volume) here() bool {
	info, err := v.root.Lstat(partialDir)
	if err != nil {
		return false
	}
	opened, err := v.partial.Stat(".")
	return err == nil && os.SameFile(info, opened)
}

// leave closes the volume, and removes partialDir if it is empty.
func (v *volume) leave() {
	if v.partial != nil {
		v.closePartial()
		v.root.Remove(partialDir)
	}
}

// note records a feature that the file system lacks.
func (v *volume) note(what func(*Lacks)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	what(&v.lacks)
}

// lacking returns the features that note has recorded.
func (v *volume) lacking() Lacks {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lacks
}

// sync flushes f to disk, if the file system supports that.
func (v *volume) sync(f *os.File) error {
	err := v.faults("sync", f.Name())
	if err == nil {
		err = f.Sync()
	}
	if unsupported(err) {
		v.note(func(l *Lacks) { l.Sync = true })
		return nil
	}
	return err
}

// syncAll flushes everything written to the file system to disk, at once. It
// reports false if the system cannot do that, so that files have to be synced
// one by one. An error may concern any file of the file system.
func (v *volume) syncAll() (bool, error) {
	if err := v.faults("syncfs", ""); err != nil {
		return false, supported(err)
	}
	ok, err := syncAll(v.dir) // dir was opened before anything was written, so syncfs reports every error since then
	return ok, supported(err)
}

// supported returns err, or nil if err says that the file system lacks the
// operation.
func supported(err error) error {
	if unsupported(err) {
		return nil
	}
	return err
}

// syncFolder flushes the names in a folder to disk, if the system supports
// that.
func (v *volume) syncFolder(path string) {
	if d, err := v.root.Open(path); err == nil {
		d.Sync()
		d.Close()
	}
}

// lock locks a journal or an index. It reports false if it is locked already.
// On a file system without locks, any file counts as free.
func (v *volume) lock(f *os.File) bool {
	err := v.faults("lock", f.Name())
	if err == nil {
		err = lock(f)
	}
	if err != nil && !locked(err) {
		v.note(func(l *Lacks) { l.Locks = true })
		return true
	}
	return err == nil
}

// create creates a data file.
func (v *volume) create(name string) (*os.File, error) {
	if err := v.faults("create", name); err != nil {
		return nil, err
	}
	return v.partial.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

// open opens a data file for reading and writing, even if an earlier attempt
// has given it permissions that do not allow that.
func (v *volume) open(name string) (*os.File, error) {
	f, err := v.partial.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		if err = v.partial.Chmod(name, 0o600); err == nil {
			f, err = v.partial.OpenFile(name, os.O_RDWR, 0)
		}
	}
	return f, err
}

// write writes b to f at offset.
func (v *volume) write(f *os.File, b []byte, offset int64) error {
	err := v.faults("write", f.Name())
	if err == nil {
		_, err = f.WriteAt(b, offset)
	}
	return err
}

// store creates a data file with content.
func (v *volume) store(name string, content []byte) error {
	if err := v.faults("create", name); err != nil {
		return err
	}
	return v.dir.create(name, content)
}

// free returns the free space in bytes, or false if it is unknown.
func (v *volume) free() (uint64, bool) {
	if v.faults("space", "") != nil {
		return 0, false
	}
	return free(v.root)
}

// folds reports whether the file system may take different names for the same.
func (v *volume) folds() bool {
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		return true
	}
	_, err := v.root.Lstat(strings.ToUpper(partialDir))
	return !errors.Is(err, fs.ErrNotExist)
}

// rescue gives a file of the user's that has ended up in the partial folder a
// name next to its former one.
func (v *volume) rescue(name, at string) {
	for n := 2; ; n++ {
		err := v.root.Link(partialDir+"/"+name, another(at, n, false))
		if err == nil {
			v.partial.Remove(name)
		}
		if !errors.Is(err, fs.ErrExist) {
			return
		}
	}
}
