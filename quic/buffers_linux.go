package quic

import (
	"fmt"
	"log/slog"
	"syscall"

	"golang.org/x/sys/unix"
)

// bufferWanted is how many bytes quic-go asks the system to hold for a socket
// in each direction. The system grants what its limits allow, and by default
// that is a thirtieth.
const bufferWanted = 7 << 20

// hintBuffers says in the log what to do where the system holds so little for a
// socket that fast transfers lose packets.
func hintBuffers(log *slog.Logger, socket syscall.Conn) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	for _, buffer := range []struct {
		limit  string
		option int
	}{{"net.core.rmem_max", unix.SO_RCVBUF}, {"net.core.wmem_max", unix.SO_SNDBUF}} {
		granted := bufferWanted // unless the system says something else
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
