package block

import (
	"os"

	"golang.org/x/sys/unix"
)

// reserve allocates disk space for n bytes of f from offset on, if the file
// system supports that. The size of f does not change.
func reserve(f *os.File, offset, n int64) {
	unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, n)
}
