package block

import (
	"context"
	"sync"
)

// A holder is a transfer of this process that holds a journal.
type holder struct {
	ctx  context.Context // of the transfer
	done chan struct{}   // closed when the journal is free
}

// holders holds the journals that this process uses, by name. Names are random,
// so no two are equal.
var holders = struct {
	sync.Mutex
	m map[string]*holder
}{m: map[string]*holder{}}

// hold reserves a journal among the transfers of this process. It reports false
// if another transfer holds it. If that transfer is ending, hold waits for its
// end.
func (j *journal) hold(ctx context.Context) bool {
	for {
		holders.Lock()
		h := holders.m[j.name]
		if h == nil {
			j.holder = &holder{ctx, make(chan struct{})}
			holders.m[j.name] = j.holder
		}
		holders.Unlock()
		if h == nil {
			return true
		}
		if h.ctx.Err() == nil {
			return false
		}
		select {
		case <-h.done:
		case <-ctx.Done():
			return false
		}
	}
}

// free releases a journal that hold has reserved.
func (j *journal) free() {
	if j.holder == nil {
		return
	}
	holders.Lock()
	delete(holders.m, j.name)
	holders.Unlock()
	close(j.holder.done)
	j.holder = nil
}
