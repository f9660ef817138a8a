package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
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

// ErrPermissions is wrapped by [Load]'s error about a key file that other users may read or write.
var ErrPermissions = errors.New("identity: the key file is open to other users; set its mode to 0600")

// Load reads a key file: one PEM block "PRIVATE KEY" with an Ed25519 key in PKCS #8 (RFC 5958, RFC 8410), and
// nothing after it. On Unix, a file that group or others may use is refused with [ErrPermissions].
func Load(path string) (Identity, error) {
	f, err := os.Open(path)
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
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return Identity{}, fmt.Errorf("%w: %s has %04o", ErrPermissions, path, info.Mode().Perm())
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

func parseFile(b []byte) (Identity, error) {
	if len(b) > maxFileSize {
		return Identity{}, fmt.Errorf("longer than %d bytes", maxFileSize)
	}
	if !bytes.HasPrefix(b, []byte("-----BEGIN ")) {
		return Identity{}, errors.New("does not start with a PEM block")
	}
	block, rest := pem.Decode(b)
	switch {
	case block == nil:
		return Identity{}, errors.New("not a PEM file")
	case block.Type != pemType:
		return Identity{}, fmt.Errorf("a PEM block %q instead of %q", block.Type, pemType)
	case len(block.Headers) != 0:
		return Identity{}, errors.New("a PEM block with headers")
	case len(rest) != 0:
		return Identity{}, errors.New("something follows the PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Identity{}, err
	}
	if rest, err := asn1.Unmarshal(block.Bytes, new(asn1.RawValue)); err != nil || len(rest) != 0 {
		return Identity{}, errors.New("something follows the key in the PEM block")
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return Identity{}, fmt.Errorf("an %T instead of an Ed25519 key", parsed)
	}
	return fromPrivate(private), nil
}

// Save writes id to a new key file of mode 0600. The file appears whole or not at all, and an existing one is
// never overwritten: then the error wraps [fs.ErrExist].
func (id Identity) Save(path string) (err error) {
	if id.IsZero() {
		return errors.New("identity: the zero Identity cannot be saved")
	}
	der, err := x509.MarshalPKCS8PrivateKey(id.key().private)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	defer os.Remove(f.Name())
	err = pem.Encode(f, &pem.Block{Type: pemType, Bytes: der})
	err = errors.Join(err, f.Sync(), f.Close())
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
func Create(path string) (Identity, error) {
	id := New()
	if err := id.Save(path); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// LoadOrCreate loads the key file at path, or creates it when there is none. Processes that race for one path
// get the same identity.
func LoadOrCreate(path string) (Identity, error) {
	id, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	id, err = Create(path)
	if errors.Is(err, fs.ErrExist) {
		return Load(path)
	}
	return id, err
}
