package block

import (
	"os"

	"golang.org/x/sys/unix"
)

// exchange has the file called name here and the one called old in another
// folder swap their names, in one step.
func (h *handle) exchange(from *handle, old, name string) error {
	if err := unix.RenameatxNp(from.fd(), old, h.fd(), name, unix.RENAME_SWAP); err != nil {
		return &os.LinkError{Op: "exchange", Old: old, New: name, Err: err}
	}
	return nil
}
