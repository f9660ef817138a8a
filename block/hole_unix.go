//go:build linux || darwin || freebsd

package block

import (
	"errors"
	"io"
	"math"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// dataAfter returns where the next data of a file begins, at offset or later,
// and where the next hole after that begins. It reports false if the file
// system does not support it.
func dataAfter(f opened, offset int64) (data, hole int64, ok bool) {
	file, isSeeker := f.(io.Seeker)
	if !isSeeker {
		return 0, 0, false
	}
	seekData, seekHole := 3, 4 // SEEK_DATA and SEEK_HOLE
	if runtime.GOOS == "darwin" {
		seekData, seekHole = seekHole, seekData
	}
	data, err := file.Seek(offset, seekData)
	if errors.Is(err, unix.ENXIO) { // a hole to the end
		return math.MaxInt64, math.MaxInt64, true
	}
	if err != nil || data < offset {
		return 0, 0, false
	}
	hole, err = file.Seek(data, seekHole)
	return data, hole, err == nil && hole > data
}

// systemStored returns how many bytes of a file are not holes, according to the
// result of stat.
func systemStored(sys any) (int64, bool) {
	if s, ok := sys.(*syscall.Stat_t); ok {
		return int64(s.Blocks) * 512, true
	}
	return 0, false
}
