package tcp

import (
	"context"
	"time"

	"github.com/sdp2p/p2p"
)

// tendTime is the time between checks of the lanes.
const tendTime = 5 * time.Second

// tend checks the lanes periodically until none is left.
//
// The system ends a connection if data is not acknowledged for [userTimeout],
// and does so too if the other side accepts no data because its app does not
// read. Such a pause may last as long as the app likes. Therefore a side
// without room sends a sign of life at each check, and a side that waits for
// room relies on these signs instead of the system.
func (r *run) tend() {
	tick := time.NewTicker(r.listener.cfg.tend)
	defer tick.Stop()
	for {
		select {
		case <-r.ending:
			return
		case <-tick.C:
		}
		r.mu.Lock()
		if len(r.bonds) == 0 {
			r.tended = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		for _, b := range r.all() {
			for _, l := range b.list() {
				l.tend()
			}
		}
	}
}

// tend checks one lane.
func (l *lane) tend() {
	cfg, full := &l.run.listener.cfg, l.in.waits()
	if full && l.wire.flushing.TryLock() {
		idle := len(l.wire.unsent()) == 0
		l.wire.flushing.Unlock()
		if idle && !l.isOver() {
			l.run.start(func() {
				if l.seal(frameNone, nil) == nil {
					_ = l.wire.flush() // if it fails, so does the next write
				}
			})
		}
	}
	l.mu.Lock()
	waits := !l.writing.IsZero() && time.Since(l.writing) > cfg.tend/2
	if waits && !l.unlimited && allAcknowledged(l.wire.TCPConn) {
		l.unlimited = true
		setUserTimeout(l.wire.TCPConn, 0)
	}
	silent := time.Since(l.born) - time.Duration(l.heard.Load())
	lost := waits && l.unlimited && !full && silent > cfg.patience && time.Since(l.writing) > cfg.patience
	l.mu.Unlock()
	if lost {
		l.wire.TCPConn.Close() // makes reads and writes fail
	}
}

// isOver reports whether the lane was closed or reset here.
func (l *lane) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over != nil
}

// leaves reports whether the lane was closed and still has something to send.
func (l *lane) leaves() bool { return l.isOver() && len(l.wire.unsent()) > 0 }

// goBack tries the node's other listeners periodically while a lane is kept:
// once they get an answer, the lane is no longer needed. It also closes the
// lane if no stream has used the bond for that time.
func (b *bond) goBack(l *lane) {
	r := b.run
	tick := time.NewTicker(r.listener.cfg.back)
	defer tick.Stop()
	for {
		select {
		case <-l.freed:
			return
		case <-r.ending:
			return
		case <-tick.C:
		case <-b.again:
			tick.Reset(r.listener.cfg.back)
		}
		ctx, cancel := r.within(context.Background())
		err := r.scope.Others(ctx, b.peer)
		cancel()
		if err == nil || b.idleFor() >= r.listener.cfg.back {
			l.Reset(p2p.ErrCanceled)
			return
		}
	}
}

// idleFor returns for how long no lane has carried a stream.
func (b *bond) idleFor() time.Duration {
	b.run.mu.Lock()
	defer b.run.mu.Unlock()
	for l := range b.lanes {
		if l.hello.purpose == forStream {
			return 0
		}
	}
	return time.Since(b.used)
}
