//go:build !linux

package quic

import (
	"log/slog"
	"syscall"
)

// hintBuffers does nothing: the system has no limit that the user could change,
// or none that can be queried.
func hintBuffers(*slog.Logger, syscall.Conn) {}
