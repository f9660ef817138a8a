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
	Announcements Count // sent unasked (§8.3, §8.4). Of received ones it cannot be told: they are Responses
	Queries       Count // other queries
	Responses     Count // multicast, and unicast to a questioner that asked for that
	Goodbyes      Count // responses in which every answer has a TTL of zero (§10.1)
	Legacy        Count // sent: answers to one-shot queries from other ports (§6.7). Received: such queries
}

// Stats tells what was sent and received. A packet counts once for each interface and family.
type Stats struct {
	Sent     Traffic
	Received Traffic // packets that were worked on; not those below

	Own       uint64 // packets of our own that came back
	OffLink   uint64 // packets from a source that is not on the link (RFC 6762 §11), or for an interface not in use
	Malformed uint64 // packets that could not be parsed, and unicast responses that nobody asked for
	Refused   uint64 // instances that were not admitted, by one of the limits
	Unsent    uint64 // packets that the operating system refused to send

	// Deaf are the names of interfaces that should be used, and over which nothing is
	// heard now, by IPv4 or IPv6 or both: most often because the system allows no
	// further membership in a multicast group.
	Deaf []string
}

// Counters count what engines send and receive. The zero value is ready to use; methods may be called concurrently.
type Counters struct {
	mu    sync.Mutex
	stats Stats
}

// Stats returns what was counted so far.
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
