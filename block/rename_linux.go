package block

import (
	"os"

	"golang.org/x/sys/unix"
)

// rename moves a file of another folder into h. It fails if the name is taken.
func (h *handle) rename(from *handle, old, name string) error {
	if err := unix.Renameat2(from.fd(), old, h.fd(), name, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: old, New: name, Err: err}
	}
	return nil
}
