//go:build darwin || freebsd

package block

import "golang.org/x/sys/unix"

// fragment returns the unit in bytes that a file system counts its blocks in.
func fragment(s *unix.Statfs_t) uint64 { return uint64(s.Bsize) }
