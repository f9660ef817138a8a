package quic

import (
	"time"
)

// Where no event tells that a path has died, silence does: a connection on which
// something was sent, and nothing heard for a second, is looked after as if the
// network had changed. One on which nothing is sent is not suspect, and is hardly
// looked at.
const (
	quietTime  = time.Second            // or four round trips, if that is longer
	lookTime   = 250 * time.Millisecond // between two looks while something is sent
	lookSeldom = 4 * time.Second
)

// A pulse is what has passed on a connection when it was looked at last.
type pulse struct {
	received uint64
	sent     uint64    // when something was received last
	since    time.Time // the first look at which more had been sent than then
}

// quiet reports whether the connection is suspect, and whether something has passed
// since the last look. Only one goroutine calls it.
func (p *pulse) quiet(received, sent uint64, rtt time.Duration, now time.Time) (suspect, busy bool) {
	switch {
	case received != p.received:
		busy = sent-p.sent > 1 // else it is kept alive, and that was answered
		*p = pulse{received: received, sent: sent}
		return false, busy
	case sent == p.sent:
		p.since = time.Time{}
		return false, false
	case p.since.IsZero():
		p.since = now
	}
	if now.Sub(p.since) < max(quietTime, 4*rtt) {
		return false, true
	}
	p.since = now // again after as long
	return true, true
}

// attendStreams looks at connections that this node dialed for as long as they have
// streams.
func (e *endpoint) attendStreams() {
	if e.attending.Swap(true) {
		return
	}
	if !e.start(e.lookAfterStreams) {
		e.attending.Store(false)
	}
}

func (e *endpoint) lookAfterStreams() {
	for wait := lookTime; ; {
		select {
		case <-time.After(wait):
		case <-e.ctx.Done():
			return
		}
		used, busy := false, false
		for _, c := range e.all() {
			if !c.moves() || c.streams.Load() == 0 {
				continue
			}
			used = true
			s := c.quic.ConnectionStats()
			suspect, now := c.pulse.quiet(s.PacketsReceived, s.PacketsSent, s.SmoothedRTT, time.Now())
			busy = busy || now
			if suspect {
				e.log.Debug("nothing is heard on a connection", "peer", c.id, "remote", c.remote())
				e.followSoon(c)
			}
		}
		if !used {
			e.attending.Store(false)
			if !e.anyStreams() || e.attending.Swap(true) {
				return
			}
		}
		if wait = min(2*wait, lookSeldom); busy {
			wait = lookTime
		}
	}
}

// anyStreams reports whether a connection that this node dialed has streams.
func (e *endpoint) anyStreams() bool {
	for _, c := range e.all() {
		if c.moves() && c.streams.Load() > 0 {
			return true
		}
	}
	return false
}
