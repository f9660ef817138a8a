package block

import (
	"os"

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
	switch uint32(s.Type) {
	case unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.SMB_SUPER_MAGIC:
		return true
	}
	return false
}
