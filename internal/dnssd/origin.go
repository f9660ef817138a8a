package dnssd

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
)

// An origin is a source address that has announced instances in the table. It
// may stand for many hosts, since a Multicast DNS repeater sends their packets
// from its own address. So an origin may have many instances; but if there is
// no room for all, origins that flood give way: their instances are new again
// and again, while those of honest hosts are new once.
type origin struct {
	addr  netip.Addr
	n     int     // instances in the table that it announced first
	level float64 // recent new ones, admitted or not; those from half a minute ago count half
	at    time.Time
}

const (
	originHalf = 30 * time.Second
	originFew  = 16  // new instances of an origin that are normal
	originMany = 512 // that are not a flood: as many as may be behind a repeater that appears
)

// wants records that an origin announces an instance that is new here.
func (o *origin) wants(now time.Time) {
	o.level = o.lately(now) + 1
}

// lately returns the number of new instances that the origin has announced
// recently.
func (o *origin) lately(now time.Time) float64 {
	if !now.Equal(o.at) {
		o.level *= math.Exp2(-float64(now.Sub(o.at)) / float64(originHalf))
		o.at = now
	}
	return o.level
}

// floods returns how many more new instances an origin announces than a host
// would.
func (o *origin) floods(now time.Time) int { return max(0, int(o.lately(now))-originFew) }

// admit takes a token for a new instance of an origin. Half of the tokens are
// reserved for origins that have announced nothing yet, and half of the rest
// for those that do not flood, so that a few that flood do not keep the others
// out.
func (b *bucket) admit(now time.Time, o *origin) bool {
	switch {
	case o.n == 0:
		return b.take(now)
	case o.lately(now) <= originMany:
		return b.takeAbove(now, b.burst/2)
	}
	return b.takeAbove(now, b.burst*3/4)
}

// takeToken takes a token for a new instance of an origin, if there is one.
func (l *link) takeToken(o *origin) bool {
	e := l.e
	if !e.admission.admit(e.now, o) {
		return false
	}
	if l.countless(o.addr) && !e.admission6.admit(e.now, o) {
		e.admission.level++
		return false
	}
	return true
}

// A rush is a time in which more instances are announced than are admitted:
// those that were refused are asked for again, after 1, 2, 4 s and so on while
// it lasts. Other nodes refuse at the same moment, so each waits up to twice as
// long, by chance, and relies on the question of the first.
type rush struct {
	next time.Time // when they are asked for
	wait backoff.Backoff
}

const (
	rushFirst = time.Second
	rushLast  = time.Minute
)

// askAgain schedules a question for refused instances.
func (l *link) askAgain() {
	r, now := &l.rush, l.e.now
	if now.Before(r.next) {
		return
	}
	if now.Sub(r.next) > rushLast {
		r.wait = backoff.Backoff{Min: rushFirst, Max: rushLast}
	}
	wait := r.wait.Next()
	wait += rand.N(1 + wait*time.Duration(min(len(l.seen), crowd))/crowd)
	r.next = now.Add(wait)
	l.browseSoon(wait)
}
