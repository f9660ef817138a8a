package call

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/sdp2p/p2p/proto"
)

// A message is a type whose pointer has the methods that protogen generates.
type message[T any] interface {
	*T
	encoder
	decoder
}

type encoder interface {
	AppendBinary(b []byte) ([]byte, error)
}

type decoder interface {
	DecodeFrom(d *proto.Decoder) error
}

// A kind is the kind of a call.
type kind uint8

const (
	kindDo kind = iota + 1
	kindReceive
	kindSend
)

// A header opens a call. It is followed by the request, or by parts in a
// kindSend.
//
//	size  field
//	1     kind     1 do, 2 receive, 3 send
//	4     timeout  in milliseconds; 0: none
type header struct {
	kind    kind
	timeout uint32
}

func (h header) appendBinary(b []byte) []byte {
	return proto.AppendUint32(proto.AppendUint8(b, uint8(h.kind)), h.timeout)
}

func (h *header) decodeFrom(d *proto.Decoder) error {
	h.kind = proto.DecodeEnum(d, "kind of call", kindDo, kindReceive, kindSend)
	h.timeout = d.Uint32()
	return d.Err()
}

// timeoutOf returns the time until ctx's deadline.
func timeoutOf(ctx context.Context) uint32 {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	ms := (time.Until(deadline) + time.Millisecond - 1).Milliseconds()
	if ms > math.MaxUint32 {
		return 0
	}
	return uint32(max(ms, 1))
}

// The contents of a part: of an answer, or of the requests of a kindSend.
//
//	size  field
//	1     what is in it  0 end, 1 message, 2 error
//	…     the message, or the error
const (
	partEnd uint8 = iota
	partMessage
	partError
)

const (
	bufferSize = 4 << 10
	keptSize   = 64 << 10 // of a buffer that is kept for another call
)

// A wire encodes and decodes the messages of a call.
type wire struct {
	r    *bufio.Reader
	d    proto.Decoder
	b    []byte // to be written
	over bool   // no part follows
	err  error  // why, if it was not the end
	told bool   // err was sent by the peer
}

var wires = sync.Pool{New: func() any { return newWire() }}

func newWire() *wire { return &wire{r: bufio.NewReaderSize(nil, bufferSize)} }

// takeWire takes a wire from the pool. release returns it, if no one else uses
// it any longer.
func takeWire() *wire { return wires.Get().(*wire) }

func (w *wire) release() {
	if cap(w.b) > keptSize {
		w.b = nil
	}
	w.d.Reset(nil)
	w.r.Reset(nil)
	w.b, w.over, w.err, w.told = w.b[:0], false, nil, false
	wires.Put(w)
}

// read makes w read from r.
func (w *wire) read(r io.Reader) { w.r.Reset(r) }

// add adds a message to write.
func (w *wire) add(m encoder) error {
	b, err := m.AppendBinary(w.b)
	if err != nil {
		return err
	}
	w.b = b
	return nil
}

// addPart adds a part with a message.
func (w *wire) addPart(m encoder) error {
	w.b = proto.AppendUint8(w.b, partMessage)
	return w.add(m)
}

// addEnd adds the part that is the end.
func (w *wire) addEnd() { w.b = proto.AppendUint8(w.b, partEnd) }

// addError adds a part with an error.
func (w *wire) addError(e *Error) {
	w.b, _ = e.appendBinary(proto.AppendUint8(w.b, partError)) // the text is cut to fit
}

// flush writes the added messages.
func (w *wire) flush(to io.Writer) error {
	_, err := to.Write(w.b)
	w.b = w.b[:0]
	return err
}

// message reads a message.
func (w *wire) message(m decoder) error {
	w.d.Reset(w.r)
	w.d.Fail(m.DecodeFrom(&w.d))
	return cut(w.d.Err())
}

// part reads a part with a message into m, and reports true; false at the end.
// An error that the peer has sent is an *[Error].
func (w *wire) part(m decoder) (bool, error) {
	if w.over {
		return false, w.err
	}
	w.d.Reset(w.r)
	what := w.d.Uint8()
	err := w.d.Err()
	switch {
	case err != nil:
	case what == partMessage:
		if err = w.message(m); err == nil {
			return true, nil
		}
	case what == partEnd:
	case what == partError:
		e := new(Error)
		w.d.Reset(w.r)
		if err = e.decodeFrom(&w.d); err == nil {
			w.told, err = true, e
		}
	default:
		err = fmt.Errorf("%w part of a call: %d", proto.ErrInvalid, what)
	}
	w.over, w.err = true, cut(err)
	return false, w.err
}

// cut returns the error of a stream that ended inside a call.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// one reads the only part of an answer into m.
func (w *wire) one(m decoder) error {
	some, err := w.part(m)
	if err == nil && !some {
		return fmt.Errorf("%w answer of a call: none", proto.ErrInvalid)
	}
	return err
}
