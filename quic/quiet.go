package quic

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// If no event reports that a path has died, silence shows it: a connection on
// which something was sent, but nothing heard for a second, is treated as if
// the network had changed. A connection on which nothing is sent is not
// suspect, and is rarely checked.
const (
	quietTime = time.Second            // or four round trips if that is longer
	lookTime  = 250 * time.Millisecond // between two checks while something is sent
)

// A pulse records the traffic of a connection at its last check, and at the
// opening of streams.
type pulse struct {
	received uint64
	sent     uint64    // packets sent when something was last received
	since    time.Time // the first check at which more had been sent

	quietAt atomic.Uint64 // packets received when it was suspect

	then struct { // an earlier opening of a stream; under conn.mu
		received, sent uint64
		age            time.Duration // of the connection, at the last one before more was sent
	}
}

// quiet reports whether the connection is suspect, and whether there was
// traffic since the last check. Only one goroutine calls it.
func (p *pulse) quiet(received, sent uint64, rtt time.Duration, now time.Time) (suspect, busy bool) {
	switch {
	case received != p.received:
		busy = sent-p.sent > 1 // a single packet is an answered keep-alive
		p.received, p.sent, p.since = received, sent, time.Time{}
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
	p.since = now // suspect again after the same time
	return true, true
}

// A rhythm determines when connections that this node dialed are checked and
// kept alive: all of them at the same time, so that a node with many
// connections wakes no more often than one with a single connection. Different
// nodes do not act in step.
type rhythm struct {
	wait time.Duration // until the next check
	beat time.Time     // the next keep-alives
}

func newRhythm(now time.Time) rhythm {
	return rhythm{wait: lookTime, beat: now.Add(rand.N(keepAlive) + 1)}
}

// due reports whether it is time for keep-alives, and sets the next time.
func (r *rhythm) due(now time.Time) bool {
	if now.Before(r.beat) {
		return false
	}
	r.beat = now.Add(keepAlive)
	return true
}

// next returns how long to wait until the next check: longer and longer while
// there is no traffic, until checks coincide with the keep-alives.
func (r *rhythm) next(now time.Time, busy bool) time.Duration {
	left := r.beat.Sub(now)
	switch {
	case busy:
		r.wait = lookTime
	case r.wait < left:
		r.wait = min(2*r.wait, left)
	}
	return min(r.wait, left)
}

// resting reports whether there is no check before the next keep-alives.
func (r *rhythm) resting(now time.Time) bool { return r.wait >= r.beat.Sub(now) }

// attendDialed checks the connections that this node dialed for as long as
// there are any.
func (e *endpoint) attendDialed() {
	if e.attending.Swap(true) {
		return
	}
	if !e.start(e.lookAfterDialed) {
		e.attending.Store(false)
	}
}

// stir makes attendDialed check soon, since something is sent after a rest.
func (e *endpoint) stir() {
	if e.resting.Load() && e.resting.Swap(false) {
		signal(e.stirred)
	}
}

func (e *endpoint) lookAfterDialed() {
	r := newRhythm(time.Now())
	timer := time.NewTimer(r.wait)
	defer timer.Stop()
	for {
		busy := false
		select {
		case <-timer.C:
			now := time.Now()
			dialed := e.dialed()
			busy = e.look(dialed, now)
			if r.due(now) {
				keepAliveAll(dialed)
			}
			if len(dialed) == 0 {
				e.attending.Store(false)
				if len(e.dialed()) == 0 || e.attending.Swap(true) {
					return
				}
			}
		case <-e.stirred:
			busy = true
		case <-e.ctx.Done():
			return
		}
		now := time.Now()
		timer.Reset(r.next(now, busy))
		e.resting.Store(r.resting(now))
	}
}

// dialed returns the connections that this node dialed.
func (e *endpoint) dialed() (all []*conn) {
	for _, c := range e.all() {
		if c.path.Dialed {
			all = append(all, c)
		}
	}
	return all
}

// look checks the connections that have streams, and reports whether there was
// traffic on one of them.
func (e *endpoint) look(dialed []*conn, now time.Time) (busy bool) {
	for _, c := range dialed {
		if !c.moves() || c.streams.Load() == 0 {
			continue
		}
		s := c.quic.ConnectionStats()
		suspect, passed := c.pulse.quiet(s.PacketsReceived, s.PacketsSent, s.SmoothedRTT, now)
		busy = busy || passed
		if suspect {
			e.log.Debug("nothing is heard on a connection", "peer", c.id, "path", c.Path())
			c.pulse.quietAt.Store(s.PacketsReceived)
			e.followSoon(c)
		}
	}
	return busy
}

// maxKept is the most bytes of a message that keeps a connection alive, so that
// it fits into one packet.
const maxKept = 1000

// keepAliveAll sends each peer something to acknowledge, which shows both sides
// that the connection is alive. quic-go would do that by itself, but later and
// at different times, which remains for connections that have no message to
// send.
func keepAliveAll(dialed []*conn) {
	for _, c := range dialed {
		c.keepAlive()
	}
}

// keepAlive sends such a message, and reports whether there was one to send.
func (c *conn) keepAlive() bool {
	received := c.quic.ConnectionStats().PacketsReceived
	passed := received - c.kept.Swap(received)
	c.mu.Lock()
	short := c.version == 2 && len(c.toldLast) > 0 && len(c.toldLast) <= maxKept
	c.mu.Unlock()
	if !short || passed > 2 { // more than the acknowledgement of the last one
		return false
	}
	c.tellMetadata(true)
	return true
}
