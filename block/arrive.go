package block

import (
	"bytes"
	"io"
	"sync"

	"github.com/sdp2p/p2p/proto"
	"github.com/zeebo/blake3"
)

const (
	readAhead   = 16 << 10 // bytes that are read before it is known what they are; they are copied once more
	batchData   = 64 << 10 // bytes of data, from which on a batch is handed on
	batchLength = 256      // messages, likewise
)

// A batch is messages that have arrived one after the other, and the data of those that have some.
type batch struct {
	items []item
	data  []byte // of pool, or nil
	err   error  // what ended the stream behind them
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// listen reads what comes, from the answer on. Its error follows what came before it, so that none of that is lost; only a
// user who is being asked is told at once.
func (r *receiver) listen() error {
	defer close(r.files)
	b, err := r.read()
	if err != nil && !r.answered.Load() {
		return err
	}
	if b.err = err; err != nil && r.hand(b) != nil {
		return err
	}
	return nil
}

// hand hands a batch on.
func (r *receiver) hand(b *batch) error {
	select {
	case r.files <- b:
		return nil
	case <-r.ctx.Done():
		return r.why()
	}
}

// read reads messages and hashes chunks. What it returns with an error was not handed on.
func (r *receiver) read() (*batch, error) {
	d, h := proto.NewDecoder(r.in), blake3.New()
	b, it := batches.Get().(*batch), new(item)
	hand := func() (err error) {
		if len(b.items) > 0 {
			err = r.hand(b)
			b = batches.Get().(*batch)
		}
		return err
	}
	for {
		if r.in.Buffered() == 0 || len(b.items) >= batchLength || len(b.data) >= batchData {
			if err := hand(); err != nil {
				return b, err
			}
		}
		*it = item{}
		d.Reset(r.in)
		if err := it.message.DecodeFrom(d); err != nil {
			return b, decoding(err)
		}
		switch it.kind {
		case kindKeep:
			continue
		case kindAbort:
			return b, it.why()
		case kindData:
			for left := int(it.size); left > 0; {
				if it.data != nil { // the piece before this one
					b.items = append(b.items, *it)
				}
				n := min(left, piece)
				if len(b.data)+n > len(buffer{}) || n > readAhead && n > r.in.Buffered() {
					if err := hand(); err != nil { // what is there does not wait
						return b, err
					}
				}
				if b.data == nil {
					buf, err := r.buffer()
					if err != nil {
						return b, err
					}
					b.data = buf[:0]
				}
				it.data = b.data[len(b.data) : len(b.data)+n]
				if _, err := io.ReadFull(r.in, it.data); err != nil {
					return b, streamError(err)
				}
				b.data = b.data[:len(b.data)+n]
				h.Write(it.data) // now, while the processor has it at hand
				left -= n
			}
		case kindChunk:
			it.sum = sum(h)
			h.Reset()
		case kindSent, kindDone:
			if err := hand(); err != nil { // what follows is of another part of the transfer
				return b, err
			}
			h.Reset()
		default:
			h.Reset()
		}
		b.items = append(b.items, *it)
		if it.kind == kindSent || it.kind == kindDone {
			if err := hand(); err != nil || it.kind == kindDone {
				return b, err
			}
		}
	}
}

// handleAll handles a batch.
func (r *receiver) handleAll(b *batch) error {
	for i := range b.items {
		if err := r.handle(&b.items[i]); err != nil {
			return err
		}
	}
	err := b.err
	if in := r.current; in != nil && in.held != nil {
		in.held = bytes.Clone(in.held) // it ends in the next batch
	}
	if b.data != nil {
		r.recycle(b.data)
	}
	clear(b.items)
	*b = batch{items: b.items[:0]}
	batches.Put(b)
	return err
}
