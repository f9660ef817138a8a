package block

import (
	"os"
	"strings"

	"golang.org/x/sys/windows"
)

// renumbers reports whether the file system of dir may give a file another
// number when the file is looked up again, or the disk is mounted again: FAT and
// exFAT store no numbers.
func renumbers(dir *os.Root) bool {
	d, err := dir.Open(".")
	if err != nil {
		return false
	}
	defer d.Close()
	var name [windows.MAX_PATH + 1]uint16
	err = windows.GetVolumeInformationByHandle(windows.Handle(d.Fd()), nil, 0, nil, nil, nil, &name[0], uint32(len(name)))
	return err == nil && strings.Contains(windows.UTF16ToString(name[:]), "FAT")
}
