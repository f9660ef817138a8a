//go:build !darwin && !linux && !freebsd

package carrier

// withoutSource has nothing to do: here, quic-go does not say which address a
// packet leaves from.
func withoutSource([]byte) ([]byte, bool) { return nil, false }
