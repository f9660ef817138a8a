package block

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A transfer is the part that the sender and the receiver of a transfer have in
// common. Its goroutines end with ctx, whose cause is the transfer's error.
type transfer struct {
	*link
	meter
	parent   context.Context
	ctx      context.Context
	stop     context.CancelCauseFunc // of ctx; see cancel
	talks    sync.WaitGroup          // goroutines that use the stream; they end soon after ctx
	works    sync.WaitGroup          // all others; a disk may block them
	telling  sync.Mutex              // held while a function of the app is called
	left     atomic.Bool             // Send or Receive has returned: no function of the app is called any more
	greeting []byte                  // what talk writes first, even if the transfer has ended
	said     chan struct{}           // closed when talk has returned
	out      chan *item              // items for talk
	room     chan struct{}           // has one element for each buffer in use
}

// An item is a message on its way through a transfer.
type item struct {
	message
	entry *entry // of an offer, at the receiver
	data  []byte // for kindRaw and kindPack: the encoded bytes to write; for kindData, at the receiver: in a buffer
	sum   hash   // for kindChunk, at the receiver: the computed hash
	last  bool   // nothing is written after it: talk returns
}

const (
	buffers = 2               // that a transfer uses at most, plus maxTogether
	framing = 7 + 5 + 33 + 33 // bytes of the messages of a small file, without its content
)

// A buffer has room for a piece, and for the messages around it.
type buffer [piece + framing]byte

var pool = sync.Pool{New: func() any { return new(buffer) }}

func newTransfer(ctx context.Context, conn net.Conn) *transfer {
	t := &transfer{
		link: newLink(conn), parent: ctx, said: make(chan struct{}),
		out: make(chan *item, 2*buffers), room: make(chan struct{}, buffers),
	}
	t.ctx, t.stop = context.WithCancelCause(ctx)
	return t
}

// An ending is the cause of a transfer's context if the transfer itself ended
// it.
type ending struct{ error }

// cancel ends the transfer with an error, unless it has ended.
func (t *transfer) cancel(err error) { t.stop(&ending{err}) }

// tell calls f, which calls a function of the app, unless Send or Receive has
// returned.
func (t *transfer) tell(f func()) {
	t.telling.Lock()
	defer t.telling.Unlock()
	if !t.left.Load() {
		f()
	}
}

// start runs f in a goroutine that belongs to a wait group. An error of f ends
// the transfer.
func (t *transfer) start(of *sync.WaitGroup, f func() error) {
	of.Go(func() {
		if err := f(); err != nil {
			t.cancel(err)
		}
	})
}

// why returns the error that ends the transfer.
func (t *transfer) why() error {
	switch cause := context.Cause(t.ctx).(type) {
	case nil:
		return nil
	case *ending:
		return cause.error
	default: // the app's context has ended
		return canceled(cause)
	}
}

// buffer returns an empty buffer, once one is free.
func (t *transfer) buffer() ([]byte, error) {
	select {
	case t.room <- struct{}{}:
		return pool.Get().(*buffer)[:], nil
	case <-t.ctx.Done():
		return nil, t.why()
	}
}

// recycle frees a buffer.
func (t *transfer) recycle(b []byte) {
	pool.Put((*buffer)(b[:piece+framing]))
	<-t.room
}

// pass hands an item to talk.
func (t *transfer) pass(it *item) error {
	select {
	case t.out <- it:
		return nil
	case <-t.ctx.Done():
		return t.why()
	}
}

// say has m written.
func (t *transfer) say(m message) error { return t.pass(&item{message: m}) }

// finish has m written as the last message of this side, and returns once it
// is. The message itself is marked as the last one: if talk were told
// separately, it could write a keep or an abort in between.
func (t *transfer) finish(m message) error {
	if err := t.pass(&item{message: m, last: true}); err != nil {
		return err
	}
	select {
	case <-t.said:
		return nil
	case <-t.ctx.Done():
		return t.why()
	}
}

// talk writes the items from out, until the last one or until the transfer
// ends; then it tells the peer why.
func (t *transfer) talk() error {
	defer close(t.said)
	w := newWriter(t.link)
	w.Write(t.greeting)
	timer := time.NewTimer(keepAlive)
	defer timer.Stop()
	for t.ctx.Err() == nil {
		var it *item
		select {
		case it = <-t.out:
		default:
			if err := w.Flush(); err != nil {
				return t.lost(err)
			}
			select {
			case it = <-t.out:
			case <-timer.C:
				it = new(item)
			case <-t.ctx.Done():
				continue
			}
		}
		timer.Reset(keepAlive)
		err := w.item(it)
		if it.kind == kindPack {
			t.recycle(it.data)
		}
		if it.last && err == nil {
			err = w.Flush()
		}
		if it.last || err != nil {
			return t.lost(err)
		}
	}
	if why := t.why(); untold(why) {
		w.item(&item{message: message{kind: kindAbort, code: codeOf(why), reason: printable(reason(why), maxText)}})
		w.Flush()
	}
	return nil
}

// untold reports whether the peer does not know yet why a transfer ends, and
// can still be told.
func untold(err error) bool {
	var told *PeerError
	return err != errFinished && !errors.As(err, &told) && !errors.Is(err, errStream)
}

// lost returns the error of a write. A peer that ends a transfer says why
// before it closes the stream, so lost gives the reading goroutine a moment to
// find the reason.
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

// newWriter returns a writer that buffers short items.
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

// run runs f, the work of one side, and then tidy. It returns the first error,
// once all goroutines have ended. If a disk hangs, it returns within a second
// of the end of the app's context nevertheless.
func (t *transfer) run(f func() error, report func(Progress), tidy func()) error {
	late := make(chan struct{})
	defer context.AfterFunc(t.parent, func() {
		t.hasten(hurry)
		time.AfterFunc(hurry+100*time.Millisecond, func() { close(late) })
	})()
	t.talks.Go(func() {
		<-t.ctx.Done()
		after := farewell
		if t.parent.Err() != nil {
			after = hurry
		}
		t.end(untold(t.why()), after)
	})
	t.talks.Go(func() { t.guard(t.ctx) })
	t.works.Go(func() { t.tick(report) })
	t.works.Go(func() {
		err := f()
		if err == nil {
			err = errFinished
		}
		t.cancel(err)
	})
	talked, worked := make(chan struct{}), make(chan struct{})
	go func() {
		t.talks.Wait()
		close(talked)
		t.works.Wait()
		tidy()
		close(worked)
	}()
	<-t.ctx.Done()
	err := t.why()
	if err == errFinished {
		err = nil
	}
	select {
	case <-talked:
		if err != nil && untold(err) {
			t.drain()
		}
	case <-late:
	}
	select {
	case <-worked:
	case <-late:
	}
	if t.telling.TryLock() { // if a function of the app does not return, it is not waited for
		defer t.telling.Unlock()
	}
	t.left.Store(true)
	t.release()
	return err
}
