package proto

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"unsafe"
)

// ahead bounds, in bytes, the memory that is allocated for bytes that have been announced and have not arrived.
const ahead = 16 << 10

// A Decoder reads one message from a stream, field by field, as the bytes arrive. It reads exactly the message's bytes
// and none behind them, so that what follows can be read from the same stream by anything else.
//
// Its methods mirror the Append functions. They return no error: the first one sticks, every method after it returns
// the zero value without reading, and [Decoder.Err] tells it. A message is checked once, at its end, where its
// DecodeFrom returns d.Err(); only a loop, or a decision that costs something, has to look earlier.
//
// Every length is checked against its limit before anything is allocated, and a length that lies costs at most 16 KiB:
// more is allocated only as the bytes arrive.
//
// A Decoder on a [bufio.Reader] is the fast one: it takes the fields from that reader's buffer where they lie, and
// Err hands back what is left, so nothing else may use the bufio.Reader between the message's first field and the call
// of Err behind its last. On any other reader each field is a Read or two. A program that reads many small messages
// from a stream should keep one bufio.Reader for that stream's whole life.
//
// A Decoder must not be used by two goroutines at once. It never closes the reader.
type Decoder struct {
	r     io.Reader
	br    *bufio.Reader // r, if it is one
	err   error
	begun bool   // a byte of the message was read, and is not in buf
	buf   []byte // what br had buffered; nil if there is no br, or if it was handed back
	pos   int    // how much of buf was read
	lists int    // how many calls of DecodeList we are in

	small [64]byte // a field on its way from r
	large []byte   // a string that small does not hold
}

// NewDecoder returns a Decoder for the message that begins at r's next byte.
func NewDecoder(r io.Reader) *Decoder {
	d := new(Decoder)
	d.Reset(r)
	return d
}

// Reset makes d ready for the message that begins at r's next byte, which may be the next one of the same stream. It
// forgets the error and keeps the Decoder's own memory.
func (d *Decoder) Reset(r io.Reader) {
	d.handBack()
	d.r, d.err, d.begun, d.lists = r, nil, false, 0
	d.br, _ = r.(*bufio.Reader)
	if cap(d.large) > ahead {
		d.large = nil
	}
}

// Err returns the first error, or nil. The reader then stands behind the last field that was read; in a function that
// [DecodeList] calls, it does so only once the whole list was read.
//
// The error is io.EOF only if the stream ended before the message's first byte, and io.ErrUnexpectedEOF if it ended
// inside the message. Errors of the reader are returned as they are. An error that wraps [ErrInvalid] says that the
// bytes are no such message. After any of them the position of the reader is undefined, and the stream is of no more
// use.
func (d *Decoder) Err() error {
	if d.pos > 0 && d.lists == 0 {
		d.handBack()
	}
	return d.err
}

// Fail makes err the Decoder's error, unless it is nil or there is one already. A message's DecodeFrom calls it when a
// rule of its own is broken; err should wrap [ErrInvalid].
func (d *Decoder) Fail(err error) {
	if d.err == nil && err != nil {
		d.handBack()
		d.err = err
	}
}

// Uint8 reads 1 byte.
func (d *Decoder) Uint8() uint8 { return d.next(1)[0] }

// Uint16 reads 2 bytes.
func (d *Decoder) Uint16() uint16 { return binary.LittleEndian.Uint16(d.next(2)) }

// Uint32 reads 4 bytes.
func (d *Decoder) Uint32() uint32 { return binary.LittleEndian.Uint32(d.next(4)) }

// Uint64 reads 8 bytes.
func (d *Decoder) Uint64() uint64 { return binary.LittleEndian.Uint64(d.next(8)) }

// Float64 reads 8 bytes, the bits of an IEEE 754 number. It may be an infinity or not a number.
func (d *Decoder) Float64() float64 { return math.Float64frombits(d.Uint64()) }

// Bool reads 1 byte. Any other than 0 or 1 is an error that wraps [ErrBool].
func (d *Decoder) Bool() bool {
	c := d.Uint8()
	if c > 1 {
		d.Fail(fmt.Errorf("%w: %d", ErrBool, c))
		return false
	}
	return c == 1
}

// Optional reads the byte that says whether a value follows. If it is true, the caller reads the value next. Any byte
// other than 0 or 1 is an error that wraps [ErrBool].
func (d *Decoder) Optional() bool { return d.Bool() }

// UUID reads 16 bytes.
func (d *Decoder) UUID() [16]byte { return [16]byte(d.next(16)) }

// Fixed fills p: bytes of a size that the message fixes, such as a key. After an error p holds anything.
func (d *Decoder) Fixed(p []byte) {
	if len(p) == 0 || d.err != nil {
		return
	}
	d.handBack()
	n, err := io.ReadFull(d.r, p)
	if err != nil {
		d.cut(n, err)
		return
	}
	d.begun = true
}

// String reads a u16 length and so many bytes of UTF-8. A length over limit, in bytes, is a [*LimitError]; other bytes
// than UTF-8 are [ErrUTF8].
func (d *Decoder) String(limit int) string {
	n := int(d.Uint16())
	if n > limit {
		d.Fail(limitError("string", uint64(n), limit))
		return ""
	}
	p := d.next(n)
	if d.err != nil {
		return ""
	}
	if !validUTF8(p) {
		d.Fail(ErrUTF8)
		return ""
	}
	return string(p)
}

// Bytes reads a u32 length and so many bytes, which are the caller's; none is nil. A length over limit, in bytes, is a
// [*LimitError].
func (d *Decoder) Bytes(limit int) []byte {
	return d.fill(nil, d.count(uint64(d.Uint32()), "bytes", limit))
}

// Count8 reads the number of a list's elements, a u8. The caller reads the elements next, or [DecodeList] does. A
// number over limit is a [*LimitError].
func (d *Decoder) Count8(limit int) int { return d.count(uint64(d.Uint8()), "list", limit) }

// Count16 is [Decoder.Count8] for a u16.
func (d *Decoder) Count16(limit int) int { return d.count(uint64(d.Uint16()), "list", limit) }

// Count32 is [Decoder.Count8] for a u32.
func (d *Decoder) Count32(limit int) int { return d.count(uint64(d.Uint32()), "list", limit) }

// DecodeEnum reads a discriminator, 1 byte. One that is not among known is an [*EnumError] that carries name.
func DecodeEnum[E ~uint8](d *Decoder, name string, known ...E) E {
	v := E(d.Uint8())
	if d.err != nil || slices.Contains(known, v) {
		return v
	}
	d.Fail(&EnumError{Name: name, Value: uint8(v)})
	return 0
}

// DecodeList reads n elements, where n comes from [Decoder.Count8], [Decoder.Count16] or [Decoder.Count32], by calling
// decode for each; a message's DecodeFrom, as in (*File).DecodeFrom, is such a function. An error that decode returns
// becomes the Decoder's. The list grows as elements arrive. None, or an error, is nil.
func DecodeList[T any](d *Decoder, n int, decode func(*T, *Decoder) error) []T {
	if n == 0 || d.err != nil {
		return nil
	}
	var element T
	list := make([]T, 0, min(n, max(1, ahead/max(1, int(unsafe.Sizeof(element))))))
	d.lists++
	for i := range n {
		if i == cap(list) {
			list = append(make([]T, 0, min(n, 2*i)), list...)
		}
		list = list[:i+1]
		if err := decode(&list[i], d); err != nil || d.err != nil {
			d.Fail(err)
			break
		}
	}
	d.lists--
	if d.err != nil {
		return nil
	}
	return list
}

// count checks a length or a count against its limit.
func (d *Decoder) count(n uint64, what string, limit int) int {
	if limit < 0 || n > uint64(limit) {
		d.Fail(limitError(what, n, limit))
		return 0
	}
	return int(n)
}

// next returns the next n bytes, which are valid until the next read. After an error they are zeros, and may be fewer.
func (d *Decoder) next(n int) []byte {
	if i := d.pos; i+n <= len(d.buf) {
		d.pos = i + n
		return d.buf[i : i+n]
	}
	return d.more(n)
}

// zeros is what more returns after an error: enough for a UUID. It is never written to.
var zeros [16]byte

// more is next for bytes that buf does not hold.
func (d *Decoder) more(n int) []byte {
	if d.err == nil {
		d.handBack()
		if p := d.read(n); d.err == nil {
			return p
		}
	}
	return zeros[:min(n, len(zeros))]
}

// read reads the next n bytes, when buf is nil: from br's buffer, if they fit it, else into memory of the Decoder's.
func (d *Decoder) read(n int) []byte {
	if d.br != nil && n <= d.br.Size() {
		p, err := d.br.Peek(n)
		if err != nil {
			d.cut(len(p), err)
			return nil
		}
		d.buf, _ = d.br.Peek(d.br.Buffered())
		d.pos = n
		return p
	}
	if n <= len(d.small) {
		d.Fixed(d.small[:n])
		return d.small[:n]
	}
	d.large = d.fill(d.large[:0], n)
	return d.large
}

// handBack tells br what was read of its buffer.
func (d *Decoder) handBack() {
	if d.pos > 0 {
		d.br.Discard(d.pos)
		d.begun = true
	}
	d.buf, d.pos = nil, 0
}

// fill reads the next n bytes into p, which is empty, and returns it. Memory is allocated in steps, each as large as
// what has arrived. After an error it returns nil.
func (d *Decoder) fill(p []byte, n int) []byte {
	for len(p) < n {
		have := len(p)
		want := min(n, max(cap(p), ahead, 2*have))
		if want > cap(p) {
			p = append(make([]byte, 0, want), p...)
		}
		p = p[:want]
		if d.Fixed(p[have:]); d.err != nil {
			return nil
		}
	}
	return p
}

// cut makes err, which the reader returned after n bytes of a field, the Decoder's error.
func (d *Decoder) cut(n int, err error) {
	if err == io.EOF && (n > 0 || d.begun) {
		err = io.ErrUnexpectedEOF
	}
	d.Fail(err)
}
