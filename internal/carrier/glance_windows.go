package carrier

import (
	"golang.org/x/net/ipv4"
)

// glance reads packets, waiting only briefly.
func (s *Socket) glance(all []ipv4.Message, flags int) (int, error) {
	defer s.hurry(false)()
	return s.kernel().ReadBatch(all, flags)
}
