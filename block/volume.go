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

// A volume is the folder that a transfer receives into, and what its file
// system can do. It may be used by several goroutines at once.
type volume struct {
	root    *os.Root
	partial *os.Root // partialDir; nil until enter
	dir     *handle  // likewise
	style   style    // of names here
	faults  func(op, name string) error

	renumbers bool // a file may have another number the next time: see renumbers

	mu    sync.Mutex
	lacks Lacks
}

// newVolume returns the volume of a folder. Before each operation it asks
// faults, of a test, for the error to fail with; nil is none.
func newVolume(root *os.Root, trusted bool, faults func(op, name string) error) *volume {
	if faults == nil {
		faults = func(string, string) error { return nil }
	}
	return &volume{root: root, style: style{hidden: trusted, portable: runtime.GOOS == "windows"}, faults: faults}
}

// enter makes and opens partialDir, and calls use, which makes something in it:
// another transfer removes that folder at its end if it is empty.
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

// probe finds out whether the file system takes names that Windows does not.
func (v *volume) probe() error {
	const name = "name:?" // no journal's
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
	missing := errors.Is(err, fs.ErrNotExist) // partialDir, or a letter of exFAT in user space
	if missing && !v.here() {
		return err
	}
	v.style.portable = missing || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EILSEQ) || unsupported(err)
	return nil
}

// here tells whether the partial folder is still where it was.
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

// note records what the file system cannot do.
func (v *volume) note(what func(*Lacks)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	what(&v.lacks)
}

// lacking returns what was noted.
func (v *volume) lacking() Lacks {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lacks
}

// sync brings what was written to f to the disk, where the file system can do
// that.
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

// syncAll brings everything that was written to the file system to the disk, in
// one go. It reports false if files have to be synced one by one, since the
// system cannot do that. An error may be of anything that was written there.
func (v *volume) syncAll() (bool, error) {
	if err := v.faults("syncfs", ""); err != nil {
		return false, supported(err)
	}
	ok, err := syncAll(v.dir) // open since before anything was written: it is told of every error since
	return ok, supported(err)
}

// supported returns err unless it says that the file system lacks the
// operation.
func supported(err error) error {
	if unsupported(err) {
		return nil
	}
	return err
}

// syncFolder brings the names in a folder to the disk, where the system can do
// that.
func (v *volume) syncFolder(path string) {
	if d, err := v.root.Open(path); err == nil {
		d.Sync()
		d.Close()
	}
}

// lock locks a journal for this transfer. It reports false if it is locked by
// another one. Where there are no locks, any file counts as free.
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

// create makes a new data file.
func (v *volume) create(name string) (*os.File, error) {
	if err := v.faults("create", name); err != nil {
		return nil, err
	}
	return v.partial.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

// open opens a data file to read and write it. An earlier attempt may have
// given it permissions that do not allow that.
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

// store makes a data file of content.
func (v *volume) store(name string, content []byte) error {
	if err := v.faults("create", name); err != nil {
		return err
	}
	return v.dir.create(name, content)
}

// free returns how many bytes may still be written; false if that is not known.
func (v *volume) free() (uint64, bool) {
	if v.faults("space", "") != nil {
		return 0, false
	}
	return free(v.root)
}

// folds tells whether the file system may take a name for another one.
func (v *volume) folds() bool {
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		return true
	}
	_, err := v.root.Lstat(strings.ToUpper(partialDir))
	return !errors.Is(err, fs.ErrNotExist)
}

// rescue gives a file of the user's that lies among the partial ones a name
// beside the one that it had.
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
