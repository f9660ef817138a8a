//go:build darwin || freebsd

package block

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// renumbers tells whether the file system of dir may give a file another number
// each time that the file is looked up, or that the disk is connected: FAT and
// exFAT have no numbers, and programs (FUSE) and servers (SMB) need not have any.
func renumbers(dir *os.Root) bool {
	d, err := dir.Open(".")
	if err != nil {
		return false
	}
	defer d.Close()
	var s unix.Statfs_t
	if unix.Fstatfs(int(d.Fd()), &s) != nil {
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
