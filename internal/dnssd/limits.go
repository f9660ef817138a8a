package dnssd

import (
	"errors"
	"time"
)

// Bounds that no configuration changes. They keep memory and traffic within
// limits whatever the link sends.
const (
	maxLinks        = 64   // interfaces in use
	maxServices     = 4    // SRV records of an instance, on a link
	maxHeld         = 64   // queries with more known answers to come, on a link (RFC 6762 §7.2)
	maxDeferred     = 256  // unicast answers waiting for their random delay, on a link
	maxUnicastRate  = 200  // unicast packets sent a second
	maxHistory      = 512  // questions of others remembered, on a link (RFC 6762 §7.3)
	maxEchoes       = 256  // own packets expected back, on a link
	maxResolveBatch = 64   // questions collected for one query, on a link
	maxQuestions    = 64   // questions of one query that are answered
	maxLegacy       = 16   // questions of a one-shot query that are answered (RFC 6762 §6.7)
	maxProposed     = 64   // records of one name in a probe (RFC 6762 §8.2)
	maxDoubts       = 64   // instances that are asked at a time about withdrawn records
	maxDoubtRate    = 20   // the same per second, in the long run
	admitAtOnce     = 8    // seconds' worth of new instances
	maxNewOfPacket  = 16   // new instances that one packet can announce
	maxQueued       = 512  // announcements of new instances that wait to be admitted
	maxQueuedPacket = 1500 // bytes of each
	maxQueuedBy     = 4    // sources of those of one instance, on a link
	maxLinkAddrs    = 8192 // addresses of hosts, on a link: beyond that, a host has fewAddrs
	fewAddrs        = 4
	maxUsers        = 64 // SRV records that point to one host, on a link
	maxMissing      = 64 // instances missing, on a link
	maxStrangers    = 64 // addresses without an instance that asked for instances, on a link
	maxNames        = 8  // interfaces named in a line of the log
	maxLogBurst     = 20 // log lines that others can provoke, and one more per minute
)

// errTooMany is the reason why an interface is not used.
var errTooMany = errors.New("only 64 interfaces are used")

// A bucket is a token bucket that starts full.
type bucket struct {
	rate   float64 // tokens a second
	burst  int     // tokens
	level  float64
	filled time.Time
}

// take takes a token if there is one.
func (b *bucket) take(now time.Time) bool { return b.takeAbove(now, 0) }

// takeAbove takes a token if reserve tokens are left then.
func (b *bucket) takeAbove(now time.Time, reserve int) bool {
	if b.filled.IsZero() {
		b.level = float64(b.burst)
	} else {
		b.level = min(float64(b.burst), b.level+now.Sub(b.filled).Seconds()*b.rate)
	}
	b.filled = now
	if b.level < float64(1+reserve) {
		return false
	}
	b.level--
	return true
}
