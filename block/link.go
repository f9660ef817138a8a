package block

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	patience  = 30 * time.Second       // without a byte received from the peer or accepted by it
	keepAlive = 5 * time.Second        // at most between two messages
	farewell  = 2 * time.Second        // for telling the peer why a transfer ends, and waiting for the peer to close
	hurry     = 800 * time.Millisecond // the same, once the app's context is done
)

// A link is a stream with a time limit for the peer. One goroutine reads from
// it, and one writes to it.
type link struct {
	conn             net.Conn
	made             time.Time
	heard            atomic.Int64 // when the last byte arrived: nanoseconds since made, on the monotonic clock
	reading, writing atomic.Int64 // when the current call began; 0 if there is none

	deadlines sync.Mutex
	ending    bool      // only end and its successors set deadlines now
	last      time.Time // set by end: the deadline of the last write and the last read
	drained   bool      // the read deadline was set to last
	released  bool      // the app has the stream back
	readCut   bool      // watch has set the read deadline
	writeCut  bool      // likewise
}

func newLink(conn net.Conn) *link { return &link{conn: conn, made: time.Now().Add(-1)} }

// clock returns the time since made. It is never 0.
func (l *link) clock() int64 { return int64(time.Since(l.made)) }

// guard makes calls fail that wait for the peer in vain, until ctx ends. With a
// deadline for each call, a stream would read the clock and start a timer for
// every packet.
func (l *link) guard(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			l.watch()
		case <-ctx.Done():
			return
		}
	}
}

func (l *link) watch() {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	if l.ending {
		return
	}
	if began := l.reading.Load(); began > 0 && l.late(began) {
		l.readCut = true
		l.conn.SetReadDeadline(time.Unix(1, 0))
	}
	if began := l.writing.Load(); began > 0 && l.late(began) && l.late(l.heard.Load()) {
		l.writeCut = true
		l.conn.SetWriteDeadline(time.Unix(1, 0))
	}
}

func (l *link) late(since int64) bool { return l.clock()-since >= int64(patience) }

// resume withdraws a deadline that watch has set for a call that had returned
// by then, or that the peer had made progress with. It reports false if watch
// has not set the deadline.
func (l *link) resume(cut *bool, set func(time.Time) error) bool {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	ours := *cut && !l.ending
	*cut = false
	return ours && set(time.Time{}) == nil
}

// Read reads from the stream. It fails with [ErrTimeout] if nothing arrives for
// 30 s.
func (l *link) Read(p []byte) (int, error) {
	for {
		began := l.clock()
		l.reading.Store(began)
		n, err := l.conn.Read(p)
		l.reading.Store(0)
		switch {
		case n > 0:
			l.heard.Store(l.clock())
			return n, nil // the next call returns the error
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !l.late(began) && l.resume(&l.readCut, l.conn.SetReadDeadline) {
				continue
			}
			err = ErrTimeout
		case err == io.EOF:
			err = ErrCut
		}
		return 0, err
	}
}

// Write writes p. It fails with [ErrTimeout] if the peer neither accepts nor
// sends anything for 30 s.
func (l *link) Write(p []byte) (written int, err error) {
	for {
		began := l.clock()
		l.writing.Store(began)
		n, err := l.conn.Write(p[written:])
		l.writing.Store(0)
		written += n
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
		inVain := n == 0 && l.late(began) && l.late(l.heard.Load())
		if inVain || !l.resume(&l.writeCut, l.conn.SetWriteDeadline) {
			return written, ErrTimeout
		}
	}
}

// end makes reads return now, and writes too, unless there is something to tell
// the peer: then writes have that much time left.
func (l *link) end(tell bool, after time.Duration) {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	l.ending = true
	l.conn.SetReadDeadline(time.Unix(1, 0))
	l.last = time.Unix(1, 0)
	if tell {
		l.last = time.Now().Add(after)
	}
	l.conn.SetWriteDeadline(l.last)
}

// hasten limits the time that is left for the end.
func (l *link) hasten(after time.Duration) {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	if by := time.Now().Add(after); l.ending && !l.released && by.Before(l.last) {
		l.last = by
		l.conn.SetWriteDeadline(by)
		if l.drained {
			l.conn.SetReadDeadline(by)
		}
	}
}

// drain waits until the peer has closed its side of the stream, so that closing
// ours does not discard the last message.
func (l *link) drain() {
	l.deadlines.Lock()
	l.drained = true
	l.conn.SetReadDeadline(l.last)
	l.deadlines.Unlock()
	io.Copy(io.Discard, l.conn)
}

// release gives the stream back to the app, without deadlines.
func (l *link) release() {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	l.released = true
	l.conn.SetDeadline(time.Time{})
}
