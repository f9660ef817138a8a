//go:build darwin || freebsd

package block

import "golang.org/x/sys/unix"

// fragment returns the size, in bytes, of the blocks that a file system counts.
func fragment(s *unix.Statfs_t) uint64 { return uint64(s.Bsize) }
