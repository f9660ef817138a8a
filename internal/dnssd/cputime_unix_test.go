//go:build unix

package dnssd

import (
	"syscall"
	"time"
)

// cpuTime returns the processor time of this process: other programs of the
// machine do not count.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
