package block

import (
	"bufio"
	"context"
	"io"
	"sync"
	"time"

	"github.com/sdp2p/p2p/proto"
)

const (
	readAhead   = 16 << 10 // bytes that are read before their message is decoded; they are copied once more
	batchData   = 64 << 10 // bytes of data at which a batch is handed on
	batchLength = 256      // messages at which a batch is handed on
	batchText   = 32 << 10 // bytes of paths and of the sender's hashes at which a batch is handed on
)

// A batch holds consecutive messages, and their data.
type batch struct {
	items []item
	data  []byte // from pool, or nil
	text  int    // bytes of paths and of the sender's hashes
	err   error  // the error that ended the stream after these items
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// An arrival reads the sender's messages and hashes the chunks, in a goroutine
// of its own.
type arrival struct {
	*transfer
	in    *bufio.Reader
	d     *proto.Decoder
	chunk *chunkHasher
	b     *batch // being filled
	asked bool   // an offer is complete and not answered yet: the user may be deciding on it
	taken int64  // bytes of the current chunk so far
	limit int64  // of taken: the size of the largest accepted chunk

	id      chan [16]byte // gets the ID of the offer
	answers chan int64    // gets limit when the offer is answered
	out     chan *batch
	back    *batch // used by receive: the batch that it reads
	next    int    // used by receive: the index of the next item in back
}

func newArrival(t *transfer) *arrival {
	return &arrival{
		transfer: t, in: bufio.NewReaderSize(t.link, readAhead), d: proto.NewDecoder(nil), chunk: newChunkHasher(t.ctx),
		b: batches.Get().(*batch), id: make(chan [16]byte, 1), answers: make(chan int64, 1), out: make(chan *batch, buffers),
	}
}

// answered tells a that the offer was answered, and the size of the largest
// accepted chunk. The receiver calls it.
func (a *arrival) answered(largest int64) { a.answers <- largest }

// run reads until the sender's last message. It hands on an error after the
// messages that arrived before it, so that none of them is lost. Only while the
// user may be deciding on the offer does it end the transfer at once.
func (a *arrival) run() error {
	defer close(a.out)
	var h hello
	a.d.Reset(a.in)
	if err := h.DecodeFrom(a.d); err != nil {
		return decoding(err)
	}
	a.id <- h.id
	for over := false; !over; {
		var err error
		if over, err = a.message(); err == nil {
			continue
		}
		if a.asked {
			return err
		}
		if a.b.err = err; a.hand() != nil {
			return err
		}
		return nil
	}
	return nil
}

// message reads one message, and reports whether it was the last one.
func (a *arrival) message() (over bool, err error) {
	if a.in.Buffered() == 0 || a.full() {
		if err := a.flush(); err != nil {
			return false, err
		}
	}
	a.d.Reset(a.in)
	k := kind(a.d.Uint8())
	if a.d.Err() != nil {
		return false, decoding(a.d.Err())
	}
	if a.asked && k != kindKeep && k != kindAbort { // only these may come before the answer
		select {
		case a.limit = <-a.answers:
			a.asked = false
		case <-a.ctx.Done():
			return false, a.why()
		}
	}
	switch k {
	case kindFolder, kindFile, kindLeftOut, kindOffered:
		return false, a.entry(k)
	}
	it := item{message: message{kind: k}}
	if err := it.message.fields(a.d); err != nil {
		return false, decoding(err)
	}
	switch k {
	case kindKeep:
		return false, nil
	case kindAbort:
		return false, it.why()
	case kindPacked:
		return false, a.packed(it.size)
	case kindData, kindHole, kindOld:
		if a.taken += int64(it.size); a.taken > a.limit {
			return false, violation("a chunk of more than %d bytes", a.limit)
		}
		if k == kindData {
			return false, a.data(&it)
		}
		if k == kindHole {
			a.chunk.zeros(int64(it.size))
		}
	case kindChunk:
		a.taken = 0
		if it.sum, err = a.chunk.sum(); err != nil {
			return false, err
		}
	default:
		a.taken = 0
		a.chunk.reset()
	}
	a.b.items = append(a.b.items, it)
	a.b.text += len(it.hashes) * len(hash{})
	if k == kindSent || k == kindDone {
		err = a.flush() // the next message belongs to another part of the transfer
	}
	return k == kindDone, err
}

// full reports whether the batch is large enough to be handed on.
func (a *arrival) full() bool {
	return len(a.b.items) >= batchLength || len(a.b.data) >= batchData || a.b.text >= batchText
}

// entry reads an entry of an offer.
func (a *arrival) entry(k kind) error {
	e := new(entry)
	if err := e.fields(k, a.d); err != nil {
		return decoding(err)
	}
	a.b.items = append(a.b.items, item{message: message{kind: k}, entry: e})
	a.b.text += len(e.path)
	if k != kindOffered {
		return nil
	}
	a.asked = true
	return a.flush()
}

// data reads the data of a message in pieces that fit into a buffer.
func (a *arrival) data(it *item) error {
	for left := int(it.size); left > 0; {
		n := min(left, piece)
		if len(a.b.data)+n > len(buffer{}) || n > readAhead && n > a.in.Buffered() {
			if err := a.flush(); err != nil { // do not hold back what has arrived already
				return err
			}
		}
		if a.b.data == nil {
			buf, err := a.buffer()
			if err != nil {
				return err
			}
			a.b.data = buf[:0]
		}
		it.data = a.b.data[len(a.b.data) : len(a.b.data)+n]
		if _, err := io.ReadFull(a.in, it.data); err != nil {
			return streamError(err)
		}
		a.b.data = a.b.data[:len(a.b.data)+n]
		if err := a.chunk.write(it.data); err != nil { // now, while the data is in the processor's cache
			return err
		}
		a.b.items = append(a.b.items, *it)
		left -= n
	}
	return nil
}

// flush hands the batch on unless it is empty.
func (a *arrival) flush() error {
	if len(a.b.items) == 0 {
		return nil
	}
	err := a.hand()
	a.b = batches.Get().(*batch)
	return err
}

func (a *arrival) hand() error {
	select {
	case a.out <- a.b:
		return nil
	case <-a.ctx.Done():
		return a.why()
	}
}

// receive returns the next message, for the goroutine that handles messages, or
// nil if tick fires first. The message is valid until the next call; spent is
// called before the data of a batch is released.
func (a *arrival) receive(tick <-chan time.Time, spent func()) (*item, error) {
	for a.back == nil || a.next == len(a.back.items) {
		if a.back != nil {
			spent()
			if err := a.release(); err != nil {
				return nil, err
			}
		}
		select {
		case b, ok := <-a.out:
			if !ok { // the goroutine that closed it cancels ctx with the reason
				<-a.ctx.Done()
				return nil, a.why()
			}
			a.back, a.next = b, 0
		case <-tick:
			return nil, nil
		case <-a.ctx.Done():
			return nil, a.why()
		}
	}
	a.next++
	return &a.back.items[a.next-1], nil
}

// done waits for the sender's last message, which must be the next one, until
// ctx is done. It reports whether the message has arrived.
func (a *arrival) done(ctx context.Context) bool {
	select {
	case b := <-a.out:
		return b != nil && len(b.items) == 1 && b.items[0].kind == kindDone
	case <-ctx.Done():
		return false
	}
}

// release frees the batch that was read, and returns its error.
func (a *arrival) release() error {
	b := a.back
	a.back = nil
	err := b.err
	if b.data != nil {
		a.recycle(b.data)
	}
	clear(b.items)
	*b = batch{items: b.items[:0]}
	batches.Put(b)
	return err
}

// packed reads packed entries.
func (a *arrival) packed(size uint32) error {
	b := make([]byte, size)
	if _, err := io.ReadFull(a.in, b); err != nil {
		return streamError(err)
	}
	return unpack(b, func(e *entry) error {
		if a.full() {
			if err := a.flush(); err != nil {
				return err
			}
		}
		a.b.items = append(a.b.items, item{message: message{kind: e.kind}, entry: e})
		a.b.text += len(e.path)
		return nil
	})
}
