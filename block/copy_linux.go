package block

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyRange copies n bytes inside the kernel, which makes both files share them
// if the file system supports that.
func copyRange(to *os.File, at int64, from *os.File, start, n int64) error {
	for n > 0 {
		copied, err := unix.CopyFileRange(int(from.Fd()), &start, int(to.Fd()), &at, int(min(n, 1<<30)), 0)
		switch {
		case err == unix.EINTR:
			continue
		case unsupported(err) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOSYS):
			return copyBytes(to, at, from, start, n)
		case err != nil:
			return &os.PathError{Op: "copy", Path: to.Name(), Err: err}
		case copied == 0:
			return io.ErrUnexpectedEOF
		}
		n -= int64(copied)
	}
	return nil
}
