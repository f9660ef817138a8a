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
	patience  = 30 * time.Second       // without a byte from the peer, or taken by it
	keepAlive = 5 * time.Second        // between two messages, at most
	farewell  = 2 * time.Second        // for telling the peer why a transfer ends, and for the peer's own end
	hurry     = 800 * time.Millisecond // likewise, once the app's context is done
)

// A link is the stream with the time that the peer has. It is read by one
// goroutine and written by one.
type link struct {
	conn             net.Conn
	made             time.Time
	heard            atomic.Int64 // when the last byte came: nanoseconds since made, on the monotonic clock
	reading, writing atomic.Int64 // when the call began that goes on; 0 if none does

	deadlines sync.Mutex
	ending    bool      // they are end's from now on
	last      time.Time // set by end: when the last write, and the last read, are over
	drained   bool      // the read deadline is last
	released  bool      // the stream is the app's again
	readCut   bool      // watch has set the read deadline
	writeCut  bool      // likewise
}

func newLink(conn net.Conn) *link { return &link{conn: conn, made: time.Now().Add(-1)} }

// clock is never 0.
func (l *link) clock() int64 { return int64(time.Since(l.made)) }

// guard has calls fail that wait for the peer in vain, until the transfer ends.
// With a deadline for each call, a stream would look at the clock and take a
// timer for every packet.
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

// resume takes back a deadline that watch has set for a call that was over by
// then, or that the peer has taken something of. It reports false if the
// deadline is not watch's.
func (l *link) resume(cut *bool, set func(time.Time) error) bool {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	ours := *cut && !l.ending
	*cut = false
	return ours && set(time.Time{}) == nil
}

// Read reads what comes, or fails with [ErrTimeout] if nothing does for 30 s.
func (l *link) Read(p []byte) (int, error) {
	for {
		began := l.clock()
		l.reading.Store(began)
		n, err := l.conn.Read(p)
		l.reading.Store(0)
		switch {
		case n > 0:
			l.heard.Store(l.clock())
			return n, nil // the error comes again
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

// Write writes p. It fails with [ErrTimeout] if the peer takes nothing for 30
// s, in which nothing came from it either.
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

// end makes reads return now, and writes now or, if there is something to tell
// the peer, after that time.
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

// hasten leaves the end no more than that time from now.
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

// drain waits until the peer has ended the stream, so that closing ours does
// not destroy what was told to it.
func (l *link) drain() {
	l.deadlines.Lock()
	l.drained = true
	l.conn.SetReadDeadline(l.last)
	l.deadlines.Unlock()
	io.Copy(io.Discard, l.conn)
}

// release gives the stream back, without deadlines.
func (l *link) release() {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	l.released = true
	l.conn.SetDeadline(time.Time{})
}
