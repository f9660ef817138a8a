package carrier

import (
	"syscall"

	"golang.org/x/sys/windows"
)

var (
	lostErrors = []syscall.Errno{
		windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAENETDOWN, windows.WSAEADDRNOTAVAIL,
		windows.WSAEINVAL, windows.WSAEACCES, windows.WSAENOBUFS, windows.WSAECONNREFUSED, windows.WSAEHOSTDOWN,
		windows.WSAENOTCONN, windows.WSAESHUTDOWN, windows.WSAECONNABORTED, windows.WSAECONNRESET, windows.WSAENETRESET,
		windows.WSAENOTSOCK, windows.WSAEPROVIDERFAILEDINIT,
	}
	toldErrors  = []syscall.Errno{windows.WSAEMSGSIZE, windows.WSAEAFNOSUPPORT, windows.WSAEFAULT}
	noRoute     = windows.WSAENETUNREACH
	aboutPacket = windows.WSAECONNRESET
)
