package block

import (
	"slices"
	"sync/atomic"
)

// A lot is one offer of a sender. A transfer of many files has several, one
// after another. Numbers of entries count from its first one, as they do on the
// wire.
type lot struct {
	first, end   int   // its entries in the sender's list
	offset, size int64 // likewise, in bytes

	offered   atomic.Bool   // all entries were sent
	answered  chan struct{} // closed when the fields below are set
	verdicts  []verdict
	absent    map[int]bool  // entries that were left out
	wishes    map[int]wish  // those with more to them than a verdict
	unchanged []stretch     // entries that are there already, by size and time alone; in rising order
	changed   map[int]bool  // files of which there is an earlier version
	claims    chan *message // gets what the receiver claims of the file that was told
	sent      atomic.Bool   // all files were sent
	done      chan struct{}
	wake      chan struct{} // has something when there are repairs

	// Guarded by the transfer's mu.
	failed  map[int]failure
	ranges  map[int]part    // parts that are wanted
	repairs []request       // that are to be sent
	mended  map[request]int // how often each was asked for
	told    int             // the file whose hashes were told, and of which nothing is claimed yet; or -1
}

// A failure says which side has given up a file, and why.
type failure struct {
	here  bool // it was told to the receiver
	there bool // by the receiver
	err   error
}

func newLot(first int, offset int64) *lot {
	return &lot{
		first: first, end: first, offset: offset, answered: make(chan struct{}), done: make(chan struct{}),
		wake: make(chan struct{}, 1), failed: map[int]failure{}, ranges: map[int]part{},
		wishes: map[int]wish{}, absent: map[int]bool{}, mended: map[request]int{},
		changed: map[int]bool{}, claims: make(chan *message, 1), told: -1,
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// isUnchanged tells whether the receiver says of an entry that it is there
// already that this is so by its size and time of modification alone.
func (l *lot) isUnchanged(index int) bool {
	i, _ := slices.BinarySearchFunc(l.unchanged, index, func(s stretch, index int) int { return int(s.last) - index })
	return i < len(l.unchanged) && l.unchanged[i].has(index)
}

// wanted tells whether something was to come, or to be made, of an entry.
func (l *lot) wanted(index int) bool {
	return index < len(l.verdicts) && !l.absent[index] && l.verdicts[index] != verdictNo && l.verdicts[index] != verdictName
}

// rouse wakes the sender.
func (l *lot) rouse() {
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}
