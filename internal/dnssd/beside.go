package dnssd

import (
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// A node that is heard on two of its links, because they are one network or a
// repeater joins them, has a host name, and so an SRV record, on each. Both
// have the cache-flush bit, although each concerns only its own link. So an SRV
// record that leads to another host than a newer one is not replaced but asked
// for: if its owner repeats it, it stays beside the newer one.
const (
	besideAsks = 2
	besideWait = 300 * time.Millisecond // up to twice this before each question: mostly the record comes by itself
	besideTime = 3 * time.Second        // without an answer it is gone
)

// beside reports whether an SRV record of a set leads to another host than all
// that came with the packet.
func (p *lesson) beside(c *cached, set []*cached) bool {
	return c.typ == dns.TypeSRV && !slices.ContainsFunc(set, func(o *cached) bool { return p.touched[o] && o.host == c.host })
}

// confirm asks whether an SRV record is still valid, unless it is about to go
// anyway.
func (c *cached) confirm() {
	if c.doomed.IsZero() {
		c.asks = besideAsks
		c.doom(c.l.e.now.Add(besideTime))
	}
}

// asking returns when to ask for a record that is to be confirmed.
func (c *cached) asking() (at time.Time, ok bool) {
	if c.asks == 0 {
		return at, false
	}
	c.asks--
	return c.l.e.now.Add(between(besideWait, 2*besideWait)), true
}
