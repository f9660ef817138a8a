package block

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// free returns how many bytes may still be written to the file system of dir;
// false if that is not known.
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
