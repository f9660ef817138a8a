package block

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// free returns the free space of the file system of dir in bytes, or false if
// it is unknown.
func free(dir *os.Root) (free uint64, ok bool) {
	name, err := windows.UTF16PtrFromString(dir.Name())
	if err != nil {
		return 0, false
	}
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return free, err == nil
}

func noSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
