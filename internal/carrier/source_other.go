//go:build !darwin && !linux && !freebsd

package carrier

// withoutSource does nothing: on this system, quic-go does not set the source
// address of packets.
func withoutSource([]byte) ([]byte, bool) { return nil, false }
