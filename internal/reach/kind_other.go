//go:build !linux

package reach

import "net"

// kindOf derives an interface's kind from what every system reports: an
// interface with neighbors has a hardware address and can broadcast.
func kindOf(i *net.Interface) Kind {
	switch {
	case i.Flags&net.FlagLoopback != 0:
		return Loopback
	case i.Flags&net.FlagPointToPoint != 0, i.Flags&net.FlagBroadcast == 0, len(i.HardwareAddr) == 0:
		return PointToPoint
	}
	return Physical
}
