package identity

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/sdp2p/p2p/internal/secretfile"
)

const (
	pemType     = "PRIVATE KEY"
	maxFileSize = 4 << 10
)

// Errors about key files to which other users may have access.
var (
	// ErrPermissions is wrapped by the error about a key file that other users
	// may read or write.
	ErrPermissions = secretfile.ErrPermissions
	// ErrOwner is wrapped by the error about a key file that belongs to another
	// user.
	ErrOwner = secretfile.ErrOwner
)

// Options tune how key files are read and written. The zero value is what
// [Load], [Save] and the others use.
type Options struct {
	// Shared accepts a key file that other users own or have access to. It is
	// for file systems without owners and modes, such as FAT or some network
	// shares, if something else keeps other users away from the file.
	Shared bool
}

// Load reads a key file: one PEM block "PRIVATE KEY" with an Ed25519 key in
// PKCS #8 (RFC 5958, RFC 8410), and nothing around it but white space. If it
// contains a public key, that must match the private one.
//
// It fails with an error that wraps [fs.ErrNotExist] if there is no such file,
// and on Unix with [ErrPermissions] if group or others have access to it, and
// with [ErrOwner] if it belongs to another user.
func Load(path string) (Identity, error) { return Options{}.Load(path) }

// Load reads a key file as the function [Load] does.
func (o Options) Load(path string) (Identity, error) {
	b, err := secretfile.Read(path, maxFileSize, o.Shared)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	id, err := parseFile(b)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %s: %w", path, err)
	}
	return id, nil
}

const space = " \t\r\n"

func parseFile(b []byte) (Identity, error) {
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

// Save writes id to a new key file of mode 0600. The file appears whole or not
// at all. Save fails with an error that wraps [fs.ErrExist] if the file exists,
// and with [ErrPermissions] or [ErrOwner] if the file system cannot hold a file
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
	if err := secretfile.Create(path, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), o.Shared); err != nil {
		if errors.Is(err, ErrPermissions) || errors.Is(err, ErrOwner) {
			err = fmt.Errorf("%w, or see identity.Options", err)
		}
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

// LoadOrCreate loads the key file at path, or creates it if it does not exist.
// Processes that race for one path get the same identity. It fails as [Load]
// and [Identity.Save] do.
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
