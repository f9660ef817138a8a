package block

import (
	"fmt"
	"sync"
	"time"
)

const (
	maxWaiting      = 16               // offers of the whole process that nobody has accepted yet
	maxWaitingEach  = 2                // of one sender
	maxWaitingBytes = 32 << 20         // of all their entries
	arriveWithin    = 60 * time.Second // from the first entry of an offer to its end
	answerWithin    = 60 * time.Second // from there to the decision, unless the app says otherwise
)

// waiting counts the offers that nobody has accepted yet, of all transfers of
// this process: strangers can make offers, and an offer costs memory and room
// on the disk.
var waiting = waitingRoom{by: map[string]int{}}

// A waitingRoom counts offers.
type waitingRoom struct {
	mu     sync.Mutex
	offers int
	bytes  int64
	by     map[string]int // offers of each sender that is known
}

// A place in the waiting room belongs to one offer.
type waitingPlace struct {
	room  *waitingRoom
	from  string
	bytes int64
}

// enter takes a place for an offer of that sender, which is empty if it is not
// known.
func (w *waitingRoom) enter(from string) (*waitingPlace, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case from != "" && w.by[from] >= maxWaitingEach:
		return nil, &told{ErrBusy, fmt.Sprintf("%d offers of yours are waiting already", maxWaitingEach)}
	case w.offers >= maxWaiting:
		return nil, &told{ErrBusy, fmt.Sprintf("%d offers are waiting already", maxWaiting)}
	}
	w.offers++
	if from != "" {
		w.by[from]++
	}
	return &waitingPlace{room: w, from: from}, nil
}

// grow books that many bytes more for the offer.
func (p *waitingPlace) grow(n int64) error {
	w := p.room
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bytes+n > maxWaitingBytes {
		return &told{ErrBusy, "the offers that are waiting take too much memory"}
	}
	p.bytes += n
	w.bytes += n
	return nil
}

// leave gives the place back. A place that is nil has none.
func (p *waitingPlace) leave() {
	if p == nil {
		return
	}
	w := p.room
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offers--
	w.bytes -= p.bytes
	if p.from != "" {
		if w.by[p.from]--; w.by[p.from] == 0 {
			delete(w.by, p.from)
		}
	}
}
