package quic

import (
	"fmt"
	"log/slog"
	"syscall"

	"golang.org/x/sys/unix"
)

// bufferWanted is the size in bytes of the system's buffer that quic-go
// requests for a socket in each direction. The system grants as much as its
// limits allow, by default a thirtieth of that.
const bufferWanted = 7 << 20

// hintBuffers logs what to do if the system's buffer for a socket is so small
// that fast transfers lose packets.
func hintBuffers(log *slog.Logger, socket syscall.Conn) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	for _, buffer := range []struct {
		limit  string
		option int
	}{{"net.core.rmem_max", unix.SO_RCVBUF}, {"net.core.wmem_max", unix.SO_SNDBUF}} {
		granted := bufferWanted // unless the system reports otherwise
		_ = raw.Control(func(fd uintptr) {
			if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, buffer.option); err == nil {
				granted = n
			}
		})
		if granted < bufferWanted {
			log.Info("the system's buffer for a UDP socket is small, so that fast transfers lose packets and become slow",
				"KiB", granted>>10, "wanted", bufferWanted>>10, "hint", fmt.Sprintf("as root: sysctl -w %s=7500000", buffer.limit))
		}
	}
}
