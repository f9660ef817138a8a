//go:build !windows

package carrier

import "syscall"

var (
	lostErrors = []syscall.Errno{
		syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EINVAL,
		syscall.EPERM, syscall.ENOBUFS, syscall.ECONNREFUSED, syscall.EHOSTDOWN, syscall.ENODEV, syscall.ENXIO,
		syscall.EACCES, syscall.ENOTCONN, syscall.EPIPE, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.ENOMEM,
	}
	toldErrors  = []syscall.Errno{syscall.EMSGSIZE, syscall.EIO, syscall.EAFNOSUPPORT, syscall.EBADF}
	noRoute     = syscall.ENETUNREACH
	aboutPacket = syscall.ECONNREFUSED
)
