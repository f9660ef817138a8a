//go:build linux && !android

package block

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncAll brings everything that was written to the file system of dir to the
// disk, in one go. It reports false if the system cannot do that.
func syncAll(dir *os.Root) (bool, error) {
	d, err := dir.Open(".")
	if err != nil {
		return false, err
	}
	defer d.Close()
	err = unix.Syncfs(int(d.Fd()))
	if unsupported(err) || errors.Is(err, unix.EPERM) { // a sandbox
		return false, nil
	}
	return err == nil, err
}
