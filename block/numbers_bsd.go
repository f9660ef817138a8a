//go:build darwin || freebsd

package block

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// renumbers reports whether the file system of dir may give a file another
// number when the file is looked up again, or the disk is mounted again: FAT and
// exFAT store no numbers, and FUSE and SMB file systems need not
// have stable ones.
func renumbers(dir *os.Root) bool {
	s, err := statfs(dir)
	if err != nil {
		return false
	}
	name := unix.ByteSliceToString(s.Fstypename[:])
	for _, kind := range []string{"msdos", "exfat", "fuse", "smbfs"} {
		if strings.Contains(name, kind) {
			return true
		}
	}
	return false
}
