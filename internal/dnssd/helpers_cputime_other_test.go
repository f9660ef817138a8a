//go:build !unix

package dnssd

import "time"

func cpuTime() time.Duration { return 0 } // not available on this system
