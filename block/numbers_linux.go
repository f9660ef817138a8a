package block

import (
	"os"

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
	switch uint32(s.Type) {
	case unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.SMB_SUPER_MAGIC:
		return true
	}
	return false
}
