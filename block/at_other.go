//go:build !unix || solaris || aix

package block

import (
	"errors"
	"os"
)

// A handle is an open folder.
type handle struct{ root *os.Root }

func newHandle(root *os.Root) (*handle, error) { return &handle{root}, nil }

func (h *handle) close() {}

// create creates a file, which must not exist yet, with content.
func (h *handle) create(name string, content []byte) error {
	f, err := h.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// has reports whether the folder has an entry of that name.
func (h *handle) has(name string) bool {
	_, err := h.root.Lstat(name)
	return err == nil
}

// remove removes a file.
func (h *handle) remove(name string) error { return h.root.Remove(name) }

// link is not supported on this system.
func (h *handle) link(*handle, string, string) error { return errors.ErrUnsupported }
