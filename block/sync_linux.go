//go:build linux && !android

package block

import (
	"errors"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// syncAll flushes everything written to the file system of a folder to disk, at
// once. It reports false if the system cannot do that, or would not report
// every write that has failed since the folder was opened.
func syncAll(h *handle) (bool, error) {
	if !syncfsTells() {
		return false, nil
	}
	err := unix.Syncfs(h.fd())
	if unsupported(err) || errors.Is(err, unix.EPERM) { // a sandbox
		return false, nil
	}
	return err == nil, err
}

// syncfsTells reports whether syncfs returns the errors of failed writes, as it
// does since Linux 5.8 (syncfs(2)).
var syncfsTells = sync.OnceValue(func() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	major, rest, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), ".")
	minor, _, _ := strings.Cut(rest, ".")
	return len(major) > 1 || major > "5" || major == "5" && (len(minor) > 1 || minor >= "8")
})
