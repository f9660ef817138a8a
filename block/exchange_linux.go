package block

import (
	"os"

	"golang.org/x/sys/unix"
)

// exchange swaps, in one step, the file called name in h and the one called old
// in the folder from.
func (h *handle) exchange(from *handle, old, name string) error {
	if err := unix.Renameat2(from.fd(), old, h.fd(), name, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: old, New: name, Err: err}
	}
	return nil
}
