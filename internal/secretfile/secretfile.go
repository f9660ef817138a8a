// Package secretfile reads and writes files that contain a secret and that only
// this user can read.
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

// Errors about files to which other users may have access.
var (
	ErrPermissions = errors.New("the file is open to other users")
	ErrOwner       = errors.New("the file belongs to another user")
)

// Read returns the contents of a regular file of at most limit bytes. Unless
// shared is set, it fails with [ErrPermissions] or [ErrOwner] if other users
// have access to the file.
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

// check returns an error if other users have access to a file, unless shared is
// set.
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
// fails with an error that wraps [fs.ErrExist] if the file exists, and, unless
// shared is set, with [ErrPermissions] or [ErrOwner] on a file system with
// fixed modes or owners.
func Create(path string, b []byte, shared bool) error {
	return write(path, b, shared, publish)
}

// Replace writes a file of mode 0600, replacing an existing one: after a crash,
// either the old file or the new one exists.
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

// TempPrefix begins the names of files that are being written. A file with that
// prefix that nobody is writing was left behind by a crash.
const TempPrefix = ".tmp-"

// publish gives the complete file tmp its final name without ever replacing a
// file. If the file system has no hard links, it creates the file exclusively
// instead: a crash can then leave a truncated file, but never lose a secret.
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
