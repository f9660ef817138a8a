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

// A transfer is what both sides of one have in common. Its goroutines end with
// ctx, whose cause is the transfer's error.
type transfer struct {
	*link
	meter
	parent   context.Context
	ctx      context.Context
	stop     context.CancelCauseFunc // of ctx; see cancel
	talks    sync.WaitGroup          // goroutines that use the stream: they end soon after ctx
	works    sync.WaitGroup          // all others: a disk may hold them
	telling  sync.Mutex              // held while the app is told something
	left     atomic.Bool             // Send or Receive has returned: the app is told nothing more
	greeting []byte                  // what talk says first, also if the transfer has ended
	said     chan struct{}           // closed when talk has returned
	out      chan *item              // to talk
	room     chan struct{}           // one for each buffer that may be in use
}

// An item is a message on its way through a transfer.
type item struct {
	message
	entry *entry // of an offer, at the receiver
	data  []byte // what is written as it is, of kindRaw and kindPack; of kindData, at the receiver: in a buffer
	sum   hash   // of kindChunk, at the receiver: what was computed
	last  bool   // nothing is said behind it: talk returns
}

const (
	buffers = 2               // that a transfer uses at most, but for maxTogether more
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

// tell calls f, which tells the app something, unless Send or Receive has
// returned.
func (t *transfer) tell(f func()) {
	t.telling.Lock()
	defer t.telling.Unlock()
	if !t.left.Load() {
		f()
	}
}

// start runs f, which works until it returns; its error ends the transfer.
func (t *transfer) start(of *sync.WaitGroup, f func() error) {
	of.Go(func() {
		if err := f(); err != nil {
			t.cancel(err)
		}
	})
}

// why returns why the transfer ends.
func (t *transfer) why() error {
	switch cause := context.Cause(t.ctx).(type) {
	case nil:
		return nil
	case *ending:
		return cause.error
	default: // the app's context
		return canceled(cause)
	}
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

// finish has m written as the last message of this side, and returns when it
// is. That it is the last one must not come to talk separately: between the
// two, talk could say that this side is alive, or why the transfer ends.
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

// talk writes what comes out of out, until the last item, or until the transfer
// ends: then it tells the peer why.
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

// untold tells whether the peer can, and does not yet, know why a transfer
// ends.
func untold(err error) bool {
	var told *PeerError
	return err != errFinished && !errors.As(err, &told) && !errors.Is(err, errStream)
}

// lost returns the error of a write. A peer that has ended the transfer has
// said why before it closed the stream: the reading side has a moment to find
// that.
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

// run runs a side's work, f, and then tidy. It returns when both, and all
// goroutines, have ended, with the error that came first; a disk that hangs
// does not hold it for a second after the app's context is done.
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
	if t.telling.TryLock() { // nobody waits for a call that does not return
		defer t.telling.Unlock()
	}
	t.left.Store(true)
	t.release()
	return err
}
