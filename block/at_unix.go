//go:build unix && !solaris && !aix

package block

import (
	"os"

	"golang.org/x/sys/unix"
)

// A handle is an open folder. Its methods take a name, not a path, and follow
// no links. They use system calls, since creating an [os.File] for a small file
// takes longer than writing the file.
type handle struct {
	root *os.Root
	file *os.File
}

func newHandle(root *os.Root) (*handle, error) {
	file, err := root.Open(".")
	return &handle{root, file}, err
}

func (h *handle) close() { h.file.Close() }

func (h *handle) fd() int { return int(h.file.Fd()) }

// create creates a file, which must not exist yet, with content.
func (h *handle) create(name string, content []byte) error {
	fd, err := -1, error(unix.EINTR)
	for err == unix.EINTR {
		fd, err = unix.Openat(h.fd(), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o666)
	}
	for n := 0; err == nil && len(content) > 0; content = content[n:] {
		if n, err = unix.Write(fd, content); err == unix.EINTR {
			n, err = 0, nil
		}
	}
	if fd >= 0 {
		if err2 := unix.Close(fd); err == nil && err2 != unix.EINTR {
			err = err2
		}
	}
	if err != nil {
		return &os.PathError{Op: "create", Path: name, Err: err}
	}
	return nil
}

// has reports whether the folder has an entry of that name.
func (h *handle) has(name string) bool {
	var stat unix.Stat_t
	return unix.Fstatat(h.fd(), name, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// remove removes a file.
func (h *handle) remove(name string) error { return unix.Unlinkat(h.fd(), name, 0) }

// link makes a hard link to a file of another folder. It fails if the name is
// taken.
func (h *handle) link(from *handle, old, name string) error {
	if err := unix.Linkat(from.fd(), old, h.fd(), name, 0); err != nil {
		return &os.LinkError{Op: "link", Old: old, New: name, Err: err}
	}
	return nil
}
