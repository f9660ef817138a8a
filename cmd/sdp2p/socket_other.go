//go:build !linux

package main

import (
	"net"
	"runtime"
)

// socketChecks has nothing to tell: buffers need no setting that the user could change, or cannot be asked for.
func socketChecks() []check {
	return []check{
		{"socket", "buffers", fine, "not applicable on " + runtime.GOOS, ""},
		{"socket", "GSO", fine, "not applicable on " + runtime.GOOS, ""},
	}
}

// hearErrors has nothing to do: connected sockets are told.
func hearErrors(*net.UDPConn) {}
