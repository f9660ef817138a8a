package quic

import (
	"bytes"
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// On a host with small buffers, and only there, the log says how to get larger
// ones.
func TestHintBuffers(t *testing.T) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer socket.Close()
	said := func() string {
		var b bytes.Buffer
		hintBuffers(slog.New(slog.NewTextHandler(&b, nil)), socket)
		return b.String()
	}
	require.NoError(t, socket.SetReadBuffer(64<<10))
	require.NoError(t, socket.SetWriteBuffer(64<<10))
	require.Contains(t, said(), "KiB=128 ") // Linux doubles the value
	require.Contains(t, said(), "sysctl -w net.core.rmem_max=")
	require.Contains(t, said(), "sysctl -w net.core.wmem_max=")

	raw, err := socket.SyscallConn()
	require.NoError(t, err)
	var denied error
	require.NoError(t, raw.Control(func(fd uintptr) {
		denied = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferWanted)
	}))
	if denied != nil {
		return // only root may set larger ones
	}
	require.NotContains(t, said(), "rmem_max")
	require.Contains(t, said(), "wmem_max")
}
