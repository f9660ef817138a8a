package block

import "golang.org/x/sys/unix"

// fragment returns the unit in bytes that a file system counts its blocks in.
func fragment(s *unix.Statfs_t) uint64 {
	if s.Frsize > 0 {
		return uint64(s.Frsize)
	}
	return uint64(s.Bsize)
}
