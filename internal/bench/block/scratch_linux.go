package block

import "golang.org/x/sys/unix"

// hasMemory tells whether files in a folder are in memory, and there is room
// for so many bytes.
func hasMemory(dir string, need int64) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == unix.TMPFS_MAGIC && int64(s.Bavail)*int64(s.Bsize) >= need
}
