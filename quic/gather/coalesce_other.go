//go:build !linux

package gather

import "syscall"

// coalesce returns false: only Linux coalesces packets.
func coalesce(syscall.Conn) bool { return false }

func coalesced(oob []byte) (size int, rest []byte) { return 0, oob }
