//go:build !linux

package quic

import (
	"log/slog"
	"syscall"
)

// hintBuffers has nothing to say: there is no limit that the user could change,
// or none that can be asked for.
func hintBuffers(*slog.Logger, syscall.Conn) {}
