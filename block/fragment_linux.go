package block

import "golang.org/x/sys/unix"

// fragment returns the size, in bytes, of the blocks that a file system counts.
func fragment(s *unix.Statfs_t) uint64 {
	if s.Frsize > 0 {
		return uint64(s.Frsize)
	}
	return uint64(s.Bsize)
}
