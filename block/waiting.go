package block

import (
	"fmt"
	"sync"
	"time"
)

const (
	maxWaiting      = 16               // offers of the whole process that were not accepted yet
	maxWaitingEach  = 2                // of one sender
	maxWaitingBytes = 32 << 20         // of the entries of all these offers
	arriveWithin    = 60 * time.Second // from the first entry of an offer to its end
	answerWithin    = 60 * time.Second // from the end of the offer to the decision, unless the app says otherwise
)

// waiting counts the offers, of all transfers of this process, that were not
// accepted yet. Strangers can make offers, which take memory and disk space.
var waiting = waitingRoom{by: map[string]int{}}

// A waitingRoom counts offers.
type waitingRoom struct {
	mu     sync.Mutex
	offers int
	bytes  int64
	by     map[string]int // offers of each known sender
}

// A waitingPlace is the place of one offer in a waiting room.
type waitingPlace struct {
	room  *waitingRoom
	from  string
	bytes int64
}

// enter takes a place for an offer of a sender; from is empty if the sender is
// unknown.
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

// grow reserves n more bytes for the offer.
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

// leave gives the place back. It does nothing if p is nil.
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
