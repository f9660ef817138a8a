// Package secretfile reads and writes files that hold a secret, and that nobody
// but this user can read.
package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Errors about files that this user may not be the only one to use.
var (
	ErrPermissions = errors.New("the file is open to other users")
	ErrOwner       = errors.New("the file belongs to another user")
)

// Read returns what a regular file holds, at most limit bytes. Unless shared,
// it fails with [ErrPermissions] or [ErrOwner] if other users may use it.
func Read(path string, limit int64, shared bool) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlag, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := check(info, path, shared); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return b, err
}

// check reports whether this user alone can use a file.
func check(info fs.FileInfo, path string, shared bool) error {
	switch {
	case shared:
		return nil
	case foreign(info):
		return fmt.Errorf("%w: change the owner of %s", ErrOwner, path)
	case open(info):
		return fmt.Errorf("%w: set the mode of %s to 0600, it has %04o", ErrPermissions, path, info.Mode().Perm())
	}
	return nil
}

// Create writes a new file of mode 0600, which appears whole or not at all. It
// fails with an error that wraps [fs.ErrExist] if there is a file, and unless
// shared with [ErrPermissions] or [ErrOwner] on a file system with fixed modes
// or owners.
func Create(path string, b []byte, shared bool) error {
	return write(path, b, shared, publish)
}

// Replace writes a file of mode 0600 in place of what is there: after a crash
// there is the old one or the new one.
func Replace(path string, b []byte, shared bool) error {
	return write(path, b, shared, os.Rename)
}

func write(path string, b []byte, shared bool, place func(tmp, path string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, TempPrefix+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	info, err := f.Stat()
	if err == nil {
		if err = check(info, path, shared); err != nil {
			err = fmt.Errorf("%w; the file system of %s has fixed owners or modes: keep the file elsewhere", err, dir)
		}
	}
	if err == nil {
		_, err = f.Write(b)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// TempPrefix begins the names of files that are being written. One that is
// there though nobody writes was left behind by a crash.
const TempPrefix = ".tmp-"

// publish gives the complete file tmp its final name without ever replacing
// one. Where the file system has no hard links, the file is created exclusively
// instead: a crash can then leave a file that is cut off, but never a lost
// secret.
func publish(tmp, path string) error {
	err := os.Link(tmp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	b, err := os.ReadFile(tmp)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// syncDir makes a new name in dir durable. Windows does that by itself and
// cannot open folders for it.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return err
	}
	return nil
}
