package mdns

import "github.com/sdp2p/p2p/internal/dnssd"

// Stats counts what a [Discovery] has sent and received since it was made. A
// packet counts once for each interface, and once each for IPv4 and IPv6.
type Stats struct {
	Sent     Traffic
	Received Traffic // packets that were processed; not those below

	Own       uint64 // own packets that came back
	OffLink   uint64 // packets from a source that is not on the local network (RFC 6762 §11)
	Malformed uint64 // packets that could not be parsed, and unsolicited unicast responses
	Refused   uint64 // nodes that were not admitted, because there were too many, or too many from one address
	Unsent    uint64 // packets that the operating system refused to send

	// Deaf are the names of network interfaces that should be used, but on
	// which nothing can be received now, over IPv4 or IPv6 or both: most often
	// because the system allows no further membership in a multicast group (on
	// Linux, the sysctl net.ipv4.igmp_max_memberships limits those of a socket;
	// there are up to eight sockets), or because there are more than 64
	// interfaces. Interfaces that carry the default route and those of devices
	// are used first.
	Deaf []string
}

// A Traffic is a Count for each kind of packet.
type Traffic struct {
	Probes        Count // asking whether a name is free (RFC 6762 §8.1)
	Announcements Count // sent unsolicited (§8.3, §8.4). Received ones are indistinguishable from Responses, and count as these
	Queries       Count // other queries
	Responses     Count // answers to queries
	Goodbyes      Count // withdrawing what was announced (§10.1)
	Legacy        Count // sent: answers to one-shot queries (§6.7). Received: such queries
}

// A Count counts packets and the bytes of their UDP payloads.
type Count struct{ Packets, Bytes uint64 }

// Total returns the sum over all kinds.
func (t Traffic) Total() Count {
	var sum Count
	for _, c := range []Count{t.Probes, t.Announcements, t.Queries, t.Responses, t.Goodbyes, t.Legacy} {
		sum.Packets += c.Packets
		sum.Bytes += c.Bytes
	}
	return sum
}

// Stats returns the counts so far, over all the times that the discovery was
// enabled.
func (d *Discovery) Stats() Stats {
	s := d.counters.Stats()
	return Stats{
		Sent: traffic(s.Sent), Received: traffic(s.Received),
		Own: s.Own, OffLink: s.OffLink, Malformed: s.Malformed, Refused: s.Refused, Unsent: s.Unsent,
		Deaf: s.Deaf,
	}
}

func traffic(t dnssd.Traffic) Traffic {
	return Traffic{
		Probes: Count(t.Probes), Announcements: Count(t.Announcements), Queries: Count(t.Queries),
		Responses: Count(t.Responses), Goodbyes: Count(t.Goodbyes), Legacy: Count(t.Legacy),
	}
}
