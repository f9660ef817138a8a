package block

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	patience  = 30 * time.Second // without a byte from the peer, or taken by it
	keepAlive = 5 * time.Second  // between two messages, at most
	farewell  = 2 * time.Second  // for telling the peer why we end, and for its end
)

// A link is the stream with the time that the peer has. It is read by one goroutine and written by one.
type link struct {
	conn             net.Conn
	made             time.Time
	heard            atomic.Int64 // when the last byte came: nanoseconds since made, on the monotonic clock
	reading, writing atomic.Int64 // when the call began that goes on; 0 if none does

	deadlines sync.Mutex
	ending    bool // they are end's from now on
	readCut   bool // watch has set the read deadline
	writeCut  bool // likewise
}

func newLink(conn net.Conn) *link { return &link{conn: conn, made: time.Now().Add(-1)} }

// clock is never 0.
func (l *link) clock() int64 { return int64(time.Since(l.made)) }

// guard has calls fail that wait for the peer in vain, until the transfer ends. With a deadline for each call, a stream would
// look at the clock and take a timer for every packet.
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

// resume takes back a deadline that watch has set for a call that was over by then, or that the peer has taken something of.
// It reports false if the deadline is not watch's.
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

// Write writes p. It fails with [ErrTimeout] if the peer takes nothing for 30 s, in which nothing came from it either.
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

// end makes reads return now, and writes as well, or after a last moment if there is something to tell the peer.
func (l *link) end(tell bool) {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	l.ending = true
	l.conn.SetReadDeadline(time.Unix(1, 0))
	by := time.Unix(1, 0)
	if tell {
		by = time.Now().Add(farewell)
	}
	l.conn.SetWriteDeadline(by)
}

// drain waits until the peer has ended the stream, so that closing ours does not destroy what was told to it.
func (l *link) drain() {
	l.conn.SetReadDeadline(time.Now().Add(farewell))
	io.Copy(io.Discard, l.conn)
}

// A transfer is what both sides of one have in common. Its goroutines end with ctx, whose cause is the transfer's error.
type transfer struct {
	*link
	meter
	parent   context.Context
	ctx      context.Context
	cancel   context.CancelCauseFunc
	tasks    sync.WaitGroup
	greeting []byte        // what talk says first, also if the transfer has ended
	said     chan struct{} // closed when talk has returned
	out      chan *item    // to talk
	room     chan struct{} // one for each buffer that may be in use
}

// An item is a message on its way through a transfer.
type item struct {
	message
	data []byte // what is written as it is, of kindRaw and kindPack; of kindData, at the receiver: in a buffer
	sum  hash   // of kindChunk, at the receiver: what was computed
	last bool   // nothing: talk returns
}

const (
	buffers = 2         // that a transfer uses at most
	piece   = 128 << 10 // bytes that are read, hashed, and written in one step: two of them leave room in a core's cache
)

// A buffer has room for a piece, and for the messages around it.
type buffer [piece + framing]byte

var pool = sync.Pool{New: func() any { return new(buffer) }}

func newTransfer(ctx context.Context, conn net.Conn) *transfer {
	t := &transfer{
		link: newLink(conn), parent: ctx, said: make(chan struct{}),
		out: make(chan *item, 2*buffers), room: make(chan struct{}, buffers),
	}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	return t
}

// start runs f until it returns; its error ends the transfer.
func (t *transfer) start(f func() error) {
	t.tasks.Go(func() {
		if err := f(); err != nil {
			t.cancel(err)
		}
	})
}

// why returns why the transfer ends.
func (t *transfer) why() error {
	cause := context.Cause(t.ctx)
	if cause != nil && t.parent.Err() != nil && cause == context.Cause(t.parent) {
		return cancelled(cause)
	}
	return cause
}

// buffer returns an empty buffer, once there is one.
func (t *transfer) buffer() ([]byte, error) {
	select {
	case t.room <- struct{}{}:
		return pool.Get().(*buffer)[:], nil
	case <-t.ctx.Done():
		return nil, t.why()
	}
}

// recycle takes a buffer back.
func (t *transfer) recycle(b []byte) {
	pool.Put((*buffer)(b[:piece+framing]))
	<-t.room
}

// pass hands an item on.
func (t *transfer) pass(to chan<- *item, it *item) error {
	select {
	case to <- it:
		return nil
	case <-t.ctx.Done():
		return t.why()
	}
}

// say has m written.
func (t *transfer) say(m message) error { return t.pass(t.out, &item{message: m}) }

// talk writes what comes out of in, until the last item, or until the transfer ends: then it tells the peer why.
func (t *transfer) talk(in <-chan *item) error {
	defer close(t.said)
	w := newWriter(t.link)
	w.Write(t.greeting)
	timer := time.NewTimer(keepAlive)
	defer timer.Stop()
	for t.ctx.Err() == nil {
		var it *item
		select {
		case it = <-in:
		default:
			if err := w.Flush(); err != nil {
				return t.lost(err)
			}
			select {
			case it = <-in:
			case <-timer.C:
				it = new(item)
			case <-t.ctx.Done():
				continue
			}
		}
		if it.last {
			return t.lost(w.Flush())
		}
		timer.Reset(keepAlive)
		err := w.item(it)
		if it.kind == kindPack {
			t.recycle(it.data)
		}
		if err != nil {
			return t.lost(err)
		}
	}
	if why := t.why(); untold(why) {
		w.item(&item{message: message{kind: kindAbort, code: codeOf(why), reason: clip(reason(why))}})
		w.Flush()
	}
	return nil
}

// streamError marks an error of the stream itself.
func streamError(err error) error {
	if err == nil || errors.Is(err, errStream) || errors.Is(err, ErrTimeout) {
		return err
	}
	return fmt.Errorf("%w: %w", errStream, err)
}

// untold tells whether the peer can, and does not yet, know why a transfer ends.
func untold(err error) bool {
	var told *PeerError
	return err != errFinished && !errors.As(err, &told) && !errors.Is(err, errStream)
}

// lost returns the error of a write. A peer that has ended the transfer has said why before it closed the stream: whoever
// reads has a moment to find that.
func (t *transfer) lost(err error) error {
	if err != nil {
		select {
		case <-t.ctx.Done():
		case <-time.After(farewell / 2):
		}
	}
	return streamError(err)
}

// A writer writes items.
type writer struct {
	*bufio.Writer
	scratch []byte
}

// newWriter returns a writer that keeps what is short.
func newWriter(l *link) *writer { return &writer{Writer: bufio.NewWriterSize(l, 4<<10)} }

func (w *writer) item(it *item) (err error) {
	b := it.data
	if it.kind != kindRaw && it.kind != kindPack {
		if b, err = it.message.AppendBinary(w.scratch[:0]); err != nil {
			return err
		}
		w.scratch = b
	}
	_, err = w.Write(b)
	return err
}

// clip makes of a text what a message can carry.
func clip(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}

// run runs a side's work, f, and returns when all its goroutines have ended, with the error that came first.
func (t *transfer) run(f func() error, report func(Progress)) error {
	t.tasks.Go(func() {
		<-t.ctx.Done()
		t.end(untold(t.why()))
	})
	t.tasks.Go(func() { t.guard(t.ctx) })
	t.tasks.Go(func() { t.tick(report) })
	err := f()
	if err == nil {
		t.cancel(errFinished)
	} else {
		t.cancel(err)
	}
	t.tasks.Wait()
	err = t.why()
	if err == errFinished {
		err = nil
	}
	if err != nil && untold(err) {
		t.drain()
	}
	t.conn.SetDeadline(time.Time{})
	return err
}

// finish returns what Send and Receive return, once all goroutines have ended.
func (t *transfer) finish(err error) (Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		return t.result, err
	}
	for _, s := range t.result.Skipped {
		if s.failed() {
			return t.result, s
		}
	}
	return t.result, nil
}
