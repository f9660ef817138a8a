package block

import (
	"os"

	"golang.org/x/sys/windows"
)

// lock locks f until it is closed or the process ends. It locks a byte far
// beyond the end of f, since locked bytes cannot be read.
func lock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: 1 << 30})
}

// locked reports whether an error of lock means that the lock is held already.
func locked(err error) bool {
	return err == windows.ERROR_LOCK_VIOLATION || err == windows.ERROR_IO_PENDING || err == windows.ERROR_SHARING_VIOLATION
}

// removeOpen closes and removes f.
func removeOpen(dir *os.Root, f *os.File, name string) {
	f.Close()
	dir.Remove(name)
}

// alone reports whether a file has no second name.
func alone(f *os.File) bool {
	var info windows.ByHandleFileInformation
	return windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info) == nil && info.NumberOfLinks <= 1
}
