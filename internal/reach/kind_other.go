//go:build !linux

package reach

import "net"

// kindOf goes by what all systems tell: who has neighbors has a hardware
// address and can broadcast.
func kindOf(i *net.Interface) Kind {
	switch {
	case i.Flags&net.FlagLoopback != 0:
		return Loopback
	case i.Flags&net.FlagPointToPoint != 0, i.Flags&net.FlagBroadcast == 0, len(i.HardwareAddr) == 0:
		return PointToPoint
	}
	return Physical
}
