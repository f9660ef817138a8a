package dnssd

import (
	"slices"
	"sync"
)

// A Count counts packets and the bytes of their UDP payloads.
type Count struct{ Packets, Bytes uint64 }

func (c *Count) add(n int) {
	c.Packets++
	c.Bytes += uint64(n)
}

// A Traffic is a Count for each kind of packet.
type Traffic struct {
	Probes        Count // queries with proposed records (RFC 6762 §8.1)
	Announcements Count // sent unsolicited (§8.3, §8.4). Received ones are indistinguishable from Responses, and count as these
	Queries       Count // other queries
	Responses     Count // multicast, and unicast to a questioner that asked for that
	Goodbyes      Count // responses in which every answer has a TTL of zero (§10.1)
	Legacy        Count // sent: answers to one-shot queries from other ports (§6.7). Received: such queries
}

// Stats counts what was sent and received. A packet counts once for each
// interface and family.
type Stats struct {
	Sent     Traffic
	Received Traffic // packets that were processed; not those below

	Own       uint64 // packets of our own that came back
	OffLink   uint64 // packets from a source that is not on the link (RFC 6762 §11), or for an interface not in use
	Malformed uint64 // packets that could not be parsed, and unsolicited unicast responses
	Refused   uint64 // instances that were not admitted, by one of the limits
	Unsent    uint64 // packets that the operating system refused to send

	// Deaf are the names of interfaces that should be used, but on which
	// nothing can be received now, over IPv4 or IPv6 or both: most often
	// because the system allows no further membership in a multicast group.
	Deaf []string
}

// Counters count the packets of engines. The zero value is ready to use;
// methods may be called concurrently.
type Counters struct {
	mu    sync.Mutex
	stats Stats
}

// Stats returns the counts so far.
func (c *Counters) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Deaf = slices.Clone(s.Deaf)
	return s
}

func (c *Counters) count(f func(*Stats)) {
	c.mu.Lock()
	f(&c.stats)
	c.mu.Unlock()
}
