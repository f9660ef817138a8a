//go:build !linux

package tcp

import (
	"net"
	"time"
)

func setUserTimeout(*net.TCPConn, time.Duration) {}
func setFar(*net.TCPConn)                        {}
func setWindow(*net.TCPConn, int)                {}
func allAcknowledged(*net.TCPConn) bool          { return false }
func smoothedRTT(*net.TCPConn) time.Duration     { return 0 }
