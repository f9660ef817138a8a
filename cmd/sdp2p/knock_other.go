//go:build !linux

package main

import "net"

// hearErrors does nothing: connected sockets report errors.
func hearErrors(*net.UDPConn) {}

// told returns nil: this system tells that a packet was rejected, but not how
// or by whom.
func told(*net.UDPConn) *reject { return nil }
