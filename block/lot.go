package block

import (
	"slices"
	"sync/atomic"
)

// A lot is one offer of a sender. A transfer of many files has several, one
// after another. Indexes of entries count from the first one of the lot, as on
// the wire.
type lot struct {
	first, end   int   // its range of entries in the sender's list
	offset, size int64 // its range of bytes in the list

	offered   atomic.Bool   // all entries were sent
	answered  chan struct{} // closed when the fields below are set
	verdicts  []verdict
	absent    map[int]bool  // entries that the sender has left out
	wishes    map[int]wish  // wishes that are more than a verdict
	unchanged []stretch     // entries that the receiver has by size and time alone, in ascending order
	changed   map[int]bool  // files of which the receiver has an earlier version
	claims    chan *message // gets the receiver's claims for the file told
	sent      atomic.Bool   // all files were sent
	done      chan struct{}
	wake      chan struct{} // signals that there are repairs

	// Guarded by the transfer's mu.
	failed  map[int]failure
	ranges  map[int]part    // the wanted parts
	repairs []request       // to be sent
	mended  map[request]int // how often each was requested
	told    int             // the file whose hashes were sent and whose claims have not arrived yet, or -1
}

// A failure says which side has given up a file, and why.
type failure struct {
	here  bool // this side has, and the receiver was told
	there bool // the receiver has
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

// isUnchanged reports whether the receiver has an entry by its size and time of
// modification alone.
func (l *lot) isUnchanged(index int) bool {
	i, _ := slices.BinarySearchFunc(l.unchanged, index, func(s stretch, index int) int { return int(s.last) - index })
	return i < len(l.unchanged) && l.unchanged[i].has(index)
}

// wanted reports whether an entry is to be sent or created.
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
