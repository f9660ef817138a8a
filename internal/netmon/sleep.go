package netmon

import "time"

const (
	clockGap = 3 * time.Second // drift between the clocks beyond which the computer was asleep
	tickLate = 6 * time.Second // lateness of a tick beyond which the process stood still
)

// A sleepWatch compares clocks.
type sleepWatch struct {
	last Clocks
	due  time.Duration // when the next look is due at the latest, on the clock Awake
}

// look returns how long the computer was asleep or the process stood still
// since the last look; 0 if neither.
func (w *sleepWatch) look(now Clocks) (slept time.Duration) {
	awake := now.Awake - w.last.Awake
	gap := max(now.Wall-w.last.Wall, now.Boot-w.last.Boot) - awake
	late := now.Awake - w.due
	w.last = now
	if gap > clockGap {
		slept = gap
	}
	if late > tickLate {
		slept += late
	}
	return slept
}

// expect makes the next look due after d.
func (w *sleepWatch) expect(d time.Duration) { w.due = w.last.Awake + d }
