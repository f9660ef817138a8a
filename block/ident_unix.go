//go:build unix && !solaris && !aix

package block

import "golang.org/x/sys/unix"

// look returns the ident of a name in the folder. It follows no link.
func (h *handle) look(name string) (i ident) {
	var s unix.Stat_t
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Fstatat(h.fd(), name, &s, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return i
	}
	seconds, nanos := s.Mtim.Unix()
	i = ident{
		device: uint64(s.Dev), file: s.Ino, size: s.Size, time: seconds*1e9 + nanos, links: uint64(s.Nlink),
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		i.kind = regularKind
	case unix.S_IFDIR:
		i.kind = folderKind
	}
	return i
}
