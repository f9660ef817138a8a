package main

import (
	"slices"
	"time"
)

// A Stamp is a time of a hybrid logical clock (Kulkarni, Demirbas, Madappa,
// Avva, Leone: "Logical Physical Clocks", OPODIS 2014): 48 bits of milliseconds
// since 1970, and 16 bits that count what happens within one. It is close to
// the time of day, and greater than all stamps that its author had seen before.
type Stamp uint64

// Drift is how far the clock of a device may be off.
//
// A stamp that is further ahead must neither be refused nor wait until its time
// has come. A device that refused it would block its author for as long as the
// clock was ahead, even after it has been corrected; and a stamp that waits
// would still win when its time comes, against everything written in the
// meantime. Therefore all devices apply every operation at once, in the order
// of the stamps, which needs no clock and is the same everywhere; three rules
// ensure that a wrong clock, or a member that lies about its own, does not win
// for ever:
//
//  1. A stamp that is more than Drift ahead does not move the clock of the
//     device that receives it (Observe). A device with a wrong clock does not
//     spread it to others.
//  2. An edit names the values that it replaces, and wins over them, however far
//     ahead they are (see field).
//  3. Devices tell each other the time of their clocks. A device that is off by
//     more than Drift uses the median of all from then on (Hear), and corrects
//     the stamps of what it wrote since it last met another device: an
//     operation of its own says by how much they were off (kind shift), so that
//     all correct them alike. This decides between edits whose authors did not
//     know of each other's. If two devices disagree, nobody can know which is
//     wrong: the one that is ahead gives way, unless it has met several others
//     before.
//
// A single other device moves a clock by less than [MaxAlone], at most once in
// HearEvery, and corrects only operations that this run of the program wrote
// and no other device has.
const (
	Drift     = time.Minute
	MaxAlone  = 24 * time.Hour
	HearEvery = time.Hour

	maxAhead = 90 * 365 * 24 * time.Hour // no clock is further off: larger values are cut to this
)

// At returns the first stamp of a millisecond.
func At(t time.Time) Stamp {
	return Stamp(min(max(t.UnixMilli(), 0), 1<<48-1)) << 16
}

// Time returns the time of day of a stamp.
func (s Stamp) Time() time.Time { return time.UnixMilli(int64(s >> 16)) }

// Next returns the next stamp; the last one is followed by itself.
func (s Stamp) Next() Stamp { return max(s, s+1) }

// Shift returns the stamp that is ms milliseconds later.
func (s Stamp) Shift(ms int64) Stamp {
	ms = min(max(ms, -1<<48), 1<<48)
	return Stamp(min(max(int64(s>>16)+ms, 0), 1<<48-1))<<16 | s&0xffff
}

// A Clock is a device's hybrid logical clock. Its user guards it.
type Clock struct {
	wall       func() time.Time // the clock of the computer
	correction time.Duration    // to be added to wall
	last       Stamp
	sure       bool                     // the correction is the median of at least three clocks
	others     map[Author]time.Duration // by how much their clocks are ahead of the computer's
	heard      map[Author]time.Time     // when they said so
}

// NewClock returns a clock driven by wall, usually [time.Now].
func NewClock(wall func() time.Time) *Clock {
	return &Clock{wall: wall, others: map[Author]time.Duration{}, heard: map[Author]time.Time{}}
}

// in returns the stamp for the time after d.
func (c *Clock) in(d time.Duration) Stamp { return At(c.wall().Add(c.correction + d)) }

// Tick returns a stamp for an event that happens now.
func (c *Clock) Tick() Stamp {
	if c.last > c.in(2*Drift) { // observed stamps never are
		c.last = 0 // the clock was ahead, and has been corrected
	}
	c.last = max(c.last.Next(), c.in(0))
	return c.last
}

// Observe records a stamp made by another device, or by this one before a
// restart.
func (c *Clock) Observe(s Stamp) {
	if s <= c.in(Drift) {
		c.last = max(c.last, s)
	}
}

// Hear records by how much the clock of another device is ahead of this
// computer's. It returns by how much the correction should change, whether that
// is sure, and whether either is new.
func (c *Clock) Hear(from Author, ahead time.Duration) (change time.Duration, sure, news bool) {
	now := c.wall()
	if last, ok := c.heard[from]; ok && !now.Before(last) && now.Sub(last) < HearEvery {
		return 0, c.sure, false
	}
	c.heard[from] = now
	c.others[from] = cut(ahead).Round(time.Millisecond)
	all := []time.Duration{0}
	for _, d := range c.others {
		all = append(all, d)
	}
	slices.Sort(all)
	sure = c.sure || len(all) > 2
	if off := all[len(all)-1] - all[0]; len(all) == 2 && (off >= MaxAlone || c.sure && off > Drift) {
		return 0, c.sure, false
	}
	change = all[(len(all)-1)/2] - c.correction // the median; of an even number the earlier one
	if change.Abs() <= Drift {
		change = 0
	}
	return change, sure, change != 0 || sure != c.sure
}

// Correct changes the correction.
func (c *Clock) Correct(change time.Duration, sure bool) {
	c.correction, c.sure = cut(c.correction+change), sure
}

func cut(d time.Duration) time.Duration { return min(max(d, -maxAhead), maxAhead) }

// Forget forgets the clock of a device that is no longer a member.
func (c *Clock) Forget(from Author) {
	delete(c.others, from)
	delete(c.heard, from)
}
