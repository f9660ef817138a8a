//go:build linux || darwin || freebsd

package block

import (
	"math"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// free returns the free space of the file system of dir in bytes, or false if
// it is unknown: ramfs and some network file systems report 0 of 0 blocks.
func free(dir *os.Root) (uint64, bool) {
	s, err := statfs(dir)
	if err != nil || s.Blocks == 0 || s.Bsize == 0 {
		return 0, false
	}
	over, bytes := bits.Mul64(uint64(max(s.Bavail, 0)), fragment(&s))
	if over > 0 {
		bytes = math.MaxUint64
	}
	return bytes, true
}

// statfs returns the system's description of the file system of dir.
func statfs(dir *os.Root) (s unix.Statfs_t, err error) {
	d, err := dir.Open(".")
	if err != nil {
		return s, err
	}
	defer d.Close()
	err = unix.Fstatfs(int(d.Fd()), &s)
	return s, err
}
