package identity

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

const (
	pemType     = "PRIVATE KEY"
	maxFileSize = 4 << 10
)

// Errors about key files that this user may not be the only one to use.
var (
	// ErrPermissions is wrapped by the error about a key file that other users
	// may read or write.
	ErrPermissions = errors.New("identity: the key file is open to other users")
	// ErrOwner is wrapped by the error about a key file that belongs to another
	// user.
	ErrOwner = errors.New("identity: the key file belongs to another user")
)

// Options tune how key files are read and written. The zero value is what
// [Load], [Save] and the others use.
type Options struct {
	// Shared accepts a key file that other users own or may use. It is for file
	// systems without owners and modes, such as FAT or some network shares, where
	// something else keeps other users away from the file.
	Shared bool
}

// Load reads a key file: one PEM block "PRIVATE KEY" with an Ed25519 key in
// PKCS #8 (RFC 5958, RFC 8410), and nothing else but white space around it. A
// public key in it must be that of the private one.
//
// It fails with an error that wraps [fs.ErrNotExist] if there is no such file, and
// on Unix with [ErrPermissions] if group or others may use it, and with [ErrOwner]
// if it belongs to another user.
func Load(path string) (Identity, error) { return Options{}.Load(path) }

// Load reads a key file as the function [Load] does.
func (o Options) Load(path string) (Identity, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlag, 0)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Identity{}, fmt.Errorf("identity: %s is not a regular file", path)
	}
	if err := o.private(info, path); err != nil {
		return Identity{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	id, err := parseFile(b)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %s: %w", path, err)
	}
	return id, nil
}

// private reports whether this user alone can use a file.
func (o Options) private(info fs.FileInfo, path string) error {
	switch {
	case o.Shared:
		return nil
	case foreign(info):
		return fmt.Errorf("%w: change the owner of %s", ErrOwner, path)
	case shared(info):
		return fmt.Errorf("%w: set the mode of %s to 0600, it has %04o", ErrPermissions, path, info.Mode().Perm())
	}
	return nil
}

const space = " \t\r\n"

func parseFile(b []byte) (Identity, error) {
	if len(b) > maxFileSize {
		return Identity{}, fmt.Errorf("longer than %d bytes", maxFileSize)
	}
	begin := []byte("-----BEGIN ")
	b = bytes.Trim(b, space)
	switch at := bytes.Index(b, begin); {
	case len(b) == 0:
		return Identity{}, errors.New("it is empty")
	case at < 0:
		return Identity{}, errors.New("it has no PEM block")
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		return Identity{}, errors.New("it begins with a byte order mark; save it as UTF-8 without one")
	case at > 0:
		return Identity{}, errors.New("something precedes the PEM block; comments are not supported")
	}
	block, rest := pem.Decode(b)
	switch {
	case block == nil:
		return Identity{}, errors.New("its PEM block is damaged or cut off")
	case block.Type != pemType:
		return Identity{}, fmt.Errorf("a PEM block %q instead of %q", block.Type, pemType)
	case len(block.Headers) != 0:
		return Identity{}, errors.New("a PEM block with headers")
	case len(bytes.Trim(rest, space)) != 0:
		return Identity{}, errors.New("something follows the PEM block; comments are not supported")
	}
	private, err := parseKey(block.Bytes)
	if err != nil {
		return Identity{}, err
	}
	return fromPrivate(private), nil
}

// Save writes id to a new key file of mode 0600. The file appears whole or not at
// all. It fails with an error that wraps [fs.ErrExist] if there is a file, and
// with [ErrPermissions] or [ErrOwner] on a file system where no file can be made
// that [Load] accepts: see [Options].
func (id Identity) Save(path string) error { return Options{}.Save(id, path) }

// Save writes id to a new key file as [Identity.Save] does.
func (o Options) Save(id Identity, path string) (err error) {
	if id.IsZero() {
		return errors.New("identity: the zero Identity cannot be saved")
	}
	der, err := marshalKey(id.key().private)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	defer os.Remove(f.Name())
	info, err := f.Stat()
	if err == nil && o.private(info, path) != nil {
		f.Close()
		return fmt.Errorf("%w; the file system of %s has fixed owners or modes: keep the key elsewhere, or see identity.Options", o.private(info, path), dir)
	}
	err = errors.Join(err, pem.Encode(f, &pem.Block{Type: pemType, Bytes: der}), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if err := publish(f.Name(), path); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return syncDir(dir)
}

// publish gives the complete file tmp its final name without ever replacing one. Where the file system has no
// hard links, the file is created exclusively instead: a crash can then leave a file that [Load] refuses, but
// never a lost key.
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

// syncDir makes a new name in dir durable. Windows does that by itself and cannot open folders for it.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return nil
}

// Create saves a fresh identity at path; see [Identity.Save].
func Create(path string) (Identity, error) { return Options{}.Create(path) }

// Create saves a fresh identity as the function [Create] does.
func (o Options) Create(path string) (Identity, error) {
	id := New()
	if err := o.Save(id, path); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// LoadOrCreate loads the key file at path, or creates it if there is none.
// Processes that race for one path get the same identity. It fails as [Load] and
// [Identity.Save] do.
func LoadOrCreate(path string) (Identity, error) { return Options{}.LoadOrCreate(path) }

// LoadOrCreate loads or creates a key file as the function [LoadOrCreate] does.
func (o Options) LoadOrCreate(path string) (Identity, error) {
	id, err := o.Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	id, err = o.Create(path)
	if errors.Is(err, fs.ErrExist) {
		return o.Load(path)
	}
	return id, err
}
