package block

import (
	"os"

	"golang.org/x/sys/unix"
)

// reserve makes room on the disk for n bytes of f from offset on, if the file
// system can do that. The size of f stays.
func reserve(f *os.File, offset, n int64) {
	unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, n)
}
