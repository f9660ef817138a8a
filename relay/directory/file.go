package directory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sdp2p/p2p/identity"
)

// WriteFile signs a list with key and writes it to a file, atomically replacing
// the previous list. It fails with [ErrOlder], and writes nothing, if the
// previous list does not have a lower number, since nodes would refuse the new
// one. It does not overwrite a file that is not a list.
func WriteFile(path string, l List, key identity.Identity) error {
	before, err := ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("%s is not overwritten: %w", path, err)
	case before.Number >= l.Number:
		return fmt.Errorf("%w: %s has the number %d: nodes would refuse %d", ErrOlder, path, before.Number, l.Number)
	}
	b, err := l.Sign(key)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-"+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// ReadFile reads a list by any signer: see [List].Signer.
func ReadFile(path string) (List, error) {
	f, err := os.Open(path)
	if err != nil {
		return List{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return List{}, err
	}
	l, err := parse(b)
	if err != nil {
		return List{}, err
	}
	return Open(b, l.Signer)
}
