//go:build unix

package dnssd

import (
	"syscall"
	"time"
)

// cpuTime returns the processor time of this process, without that of other
// programs on the machine.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
