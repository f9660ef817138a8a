package dnssd

// A Count counts packets and the bytes of their UDP payloads.
type Count struct{ Packets, Bytes uint64 }

func (c *Count) add(n int) {
	c.Packets++
	c.Bytes += uint64(n)
}

// A Traffic is a Count for each kind of packet.
type Traffic struct {
	Probes        Count // queries with proposed records (RFC 6762 §8.1)
	Announcements Count // sent unasked (§8.3, §8.4). Of received ones it cannot be told: they are Responses
	Queries       Count // other queries
	Responses     Count // multicast, and unicast to a questioner that asked for that
	Goodbyes      Count // responses in which every answer has a TTL of zero (§10.1)
	Legacy        Count // sent: answers to one-shot queries from other ports (§6.7). Received: such queries
}

// Total returns the sum over all kinds.
func (t Traffic) Total() Count {
	var sum Count
	for _, c := range []Count{t.Probes, t.Announcements, t.Queries, t.Responses, t.Goodbyes, t.Legacy} {
		sum.Packets += c.Packets
		sum.Bytes += c.Bytes
	}
	return sum
}

// Stats tells what an engine sent and received since it started. A packet counts once for each interface and family.
type Stats struct {
	Sent     Traffic
	Received Traffic // packets that were worked on; not those below

	Own       uint64 // packets of our own that came back
	OffLink   uint64 // packets from a source that is not on the link (RFC 6762 §11), or for an interface not in use
	Malformed uint64 // packets that could not be parsed, and unicast responses that nobody asked for
	Refused   uint64 // instances that were not admitted, by one of the limits
	Unsent    uint64 // packets that the operating system refused to send
}
