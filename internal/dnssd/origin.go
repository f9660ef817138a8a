package dnssd

import (
	"math"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
)

// An origin is a source address that has announced instances which are in the
// table. It may be that of many hosts: a Multicast DNS repeater has their packets
// come from its own. So what an origin may have is much; but where there is no
// room for all, those that flood give way: what they announce is new again and
// again, while that of honest hosts is new once.
type origin struct {
	addr  netip.Addr
	n     int     // instances in the table that it was the first to announce
	level float64 // new ones lately, admitted or not: what was announced half a minute ago counts half
	at    time.Time
}

const (
	originHalf = 30 * time.Second
	originFew  = 16  // new instances of an origin that are nothing
	originMany = 512 // that are no flood: as many as there may be behind a repeater that appears
)

// wants notes that an origin announces an instance that is new here.
func (o *origin) wants(now time.Time) {
	o.level = o.lately(now) + 1
}

// lately returns how many instances the origin has announced lately.
func (o *origin) lately(now time.Time) float64 {
	if !now.Equal(o.at) {
		o.level *= math.Exp2(-float64(now.Sub(o.at)) / float64(originHalf))
		o.at = now
	}
	return o.level
}

// floods returns by how much an origin announces more than a host would.
func (o *origin) floods(now time.Time) int { return max(0, int(o.lately(now))-originFew) }

// admit takes a token for a new instance of an origin, of which some are kept for
// others: half of them for those that have announced nothing yet, and half of the
// rest for those that do not flood. A few that flood do not keep the others out.
func (b *bucket) admit(now time.Time, o *origin) bool {
	switch {
	case o.n == 0:
		return b.take(now)
	case o.lately(now) <= originMany:
		return b.takeAbove(now, b.burst/2)
	}
	return b.takeAbove(now, b.burst*3/4)
}

// A rush is when more instances are announced than are admitted: those that were
// refused are asked for again, after 1, 2, 4 s and so on while it goes on.
type rush struct {
	next time.Time // when they are asked for
	wait backoff.Backoff
}

const (
	rushFirst = time.Second
	rushLast  = time.Minute
)

// askAgain asks later for what was refused.
func (l *link) askAgain() {
	r, now := &l.rush, l.e.now
	if now.Before(r.next) {
		return
	}
	if now.Sub(r.next) > rushLast {
		r.wait = backoff.Backoff{Min: rushFirst, Max: rushLast}
	}
	wait := r.wait.Next()
	r.next = now.Add(wait)
	l.browseSoon(wait)
}
