//go:build !windows

package carrier

import (
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// glance reads packets without waiting.
func (s *Socket) glance(all []ipv4.Message, flags int) (int, error) {
	n, err := s.kernel().ReadBatch(all, flags|unix.MSG_DONTWAIT)
	if err != nil || n <= 0 {
		return 0, unix.EAGAIN
	}
	return n, nil
}
