package quic

// lossKnown is the number of sent packets from which on their loss is
// meaningful.
const lossKnown = 1000

// Loss returns the share of sent packets that were lost; 0 if too few were
// sent.
func (c *conn) Loss() float64 {
	stats := c.quic.ConnectionStats()
	if stats.PacketsSent < lossKnown {
		return 0
	}
	return float64(stats.PacketsLost) / float64(stats.PacketsSent)
}
