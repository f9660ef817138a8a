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

// ahead limits the memory, in bytes, that is allocated for announced bytes that
// have not arrived.
const ahead = 16 << 10

// A Decoder reads one message from a stream, field by field, as the bytes
// arrive. It reads exactly the message's bytes, so that any other reader can
// continue on the stream.
//
// Its methods mirror the Append functions. They return no errors: the first
// error is sticky, later methods return the zero value without reading, and
// [Decoder.Err] returns the error. It needs checking only once, at the end of a
// message, where its DecodeFrom returns d.Err(); only loops and expensive
// decisions have to check it earlier.
//
// Every length is checked against its limit before anything is allocated, and a
// false length costs at most 16 KiB: more is allocated only as the bytes
// arrive.
//
// A Decoder is fast on a [bufio.Reader]: it takes the fields directly from that
// reader's buffer, and Err gives the rest back. Therefore nothing else may use
// the bufio.Reader between the message's first field and the call of Err after
// its last. On any other reader each field takes a Read or two. A program that
// reads many small messages from a stream should keep one bufio.Reader for the
// whole life of the stream.
//
// A Decoder must not be used concurrently. It never closes the reader.
type Decoder struct {
	r     io.Reader
	br    *bufio.Reader // r, if it is one
	err   error
	begun bool   // a byte of the message was read and is no longer in buf
	buf   []byte // the bytes buffered by br; nil without br, or after they were handed back
	pos   int    // bytes of buf that were read
	lists int    // nesting depth of DecodeList

	small [64]byte // a field being read from r
	large []byte   // a string that does not fit into small
	past  uint64   // bytes read since Reset, not counting pos
}

// NewDecoder returns a Decoder for the message that begins at r's next byte.
func NewDecoder(r io.Reader) *Decoder {
	d := new(Decoder)
	d.Reset(r)
	return d
}

// Reset prepares d for the message that begins at r's next byte, possibly the
// next one of the same stream. It clears the error and keeps the Decoder's
// memory.
func (d *Decoder) Reset(r io.Reader) {
	d.handBack()
	d.r, d.err, d.begun, d.lists, d.past = r, nil, false, 0, 0
	d.br, _ = r.(*bufio.Reader)
	if cap(d.large) > ahead {
		d.large = nil
	}
}

// Err returns the first error, or nil. After nil, the reader's position is
// right after the last field that was read; within [DecodeList], that holds
// only once the whole list was read.
//
// The error is io.EOF only if the stream ended before the message's first byte,
// and io.ErrUnexpectedEOF if it ended inside the message. Errors of the reader
// are returned as they are. An error that wraps [ErrInvalid] says that the
// bytes are not such a message. After any error the reader's position is
// undefined, and the stream can no longer be used.
func (d *Decoder) Err() error {
	if d.pos > 0 && d.lists == 0 {
		d.handBack()
	}
	return d.err
}

// Fail makes err the Decoder's error, unless err is nil or the Decoder has an
// error already. A message's DecodeFrom calls it if one of its own rules is
// broken; err should wrap [ErrInvalid].
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

// Float64 reads 8 bytes, the bits of an IEEE 754 number. The number may be an
// infinity or NaN.
func (d *Decoder) Float64() float64 { return math.Float64frombits(d.Uint64()) }

// Bool reads 1 byte. Any byte other than 0 or 1 is an error that wraps
// [ErrBool].
func (d *Decoder) Bool() bool {
	c := d.Uint8()
	if c > 1 {
		d.Fail(fmt.Errorf("%w: %d", ErrBool, c))
		return false
	}
	return c == 1
}

// Optional reads the byte that says whether a value follows. If it is true, the
// caller reads the value next. Any byte other than 0 or 1 is an error that
// wraps [ErrBool].
func (d *Decoder) Optional() bool { return d.Bool() }

// UUID reads 16 bytes.
func (d *Decoder) UUID() [16]byte { return [16]byte(d.next(16)) }

// Fixed fills p with bytes of a fixed size, such as a key. After an error the
// contents of p are undefined.
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
	d.past += uint64(n)
}

// String reads a u16 length and that many bytes of UTF-8. A length over limit
// bytes is a [*LimitError]; invalid UTF-8 is [ErrUTF8].
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

// String8 is [Decoder.String] with a u8 length.
func (d *Decoder) String8(limit int) string {
	return d.text(d.count(uint64(d.Uint8()), "string", limit))
}

// String32 is [Decoder.String] with a u32 length.
func (d *Decoder) String32(limit int) string {
	return d.text(d.count(uint64(d.Uint32()), "string", limit))
}

// text reads n bytes of UTF-8. String, which most messages call more than once,
// does the same inline.
func (d *Decoder) text(n int) string {
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

// Bytes reads a u32 length and that many bytes, which belong to the caller. It
// returns nil for a length of 0. A length over limit bytes is a [*LimitError].
func (d *Decoder) Bytes(limit int) []byte {
	return d.fill(nil, d.count(uint64(d.Uint32()), "bytes", limit))
}

// Bytes8 is [Decoder.Bytes] with a u8 length.
func (d *Decoder) Bytes8(limit int) []byte {
	return d.fill(nil, d.count(uint64(d.Uint8()), "bytes", limit))
}

// Bytes16 is [Decoder.Bytes] with a u16 length.
func (d *Decoder) Bytes16(limit int) []byte {
	return d.fill(nil, d.count(uint64(d.Uint16()), "bytes", limit))
}

// Count8 reads the number of a list's elements, a u8. The caller reads the
// elements next, or [DecodeList] does. A number over limit is a [*LimitError].
func (d *Decoder) Count8(limit int) int { return d.count(uint64(d.Uint8()), "list", limit) }

// Count16 is [Decoder.Count8] for a u16.
func (d *Decoder) Count16(limit int) int { return d.count(uint64(d.Uint16()), "list", limit) }

// Count32 is [Decoder.Count8] for a u32.
func (d *Decoder) Count32(limit int) int { return d.count(uint64(d.Uint32()), "list", limit) }

// DecodeEnum reads a discriminator, 1 byte. One that is not among known is an
// [*EnumError] that carries name.
func DecodeEnum[E ~uint8](d *Decoder, name string, known ...E) E {
	v := E(d.Uint8())
	if d.err != nil || slices.Contains(known, v) {
		return v
	}
	d.Fail(&EnumError{Name: name, Value: uint8(v)})
	return 0
}

// DecodeList reads n elements, where n comes from [Decoder.Count8],
// [Decoder.Count16] or [Decoder.Count32], by calling decode for each; a
// message's DecodeFrom, as in (*File).DecodeFrom, is such a function. An error
// from decode becomes the Decoder's. The list grows as elements arrive.
// DecodeList returns nil if n is 0 or after an error.
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

// next returns the next n bytes, which are valid until the next read. After an
// error it returns zeros, possibly fewer than n.
func (d *Decoder) next(n int) []byte {
	if i := d.pos; i+n <= len(d.buf) {
		d.pos = i + n
		return d.buf[i : i+n]
	}
	return d.more(n)
}

// zeros is the result of more after an error: enough for a UUID. It is never
// written to.
var zeros [16]byte

// more is next for bytes that are not in buf.
func (d *Decoder) more(n int) []byte {
	if d.err == nil {
		d.handBack()
		if p := d.read(n); d.err == nil {
			return p
		}
	}
	return zeros[:min(n, len(zeros))]
}

// read reads the next n bytes when buf is nil: from br's buffer if they fit
// into it, otherwise into the Decoder's own memory.
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

// handBack tells br how much of its buffer was read. It is inlined, and costs
// nothing without br.
func (d *Decoder) handBack() {
	if d.buf != nil {
		d.discard()
	}
}

// discard is the part of handBack that is not inlined.
func (d *Decoder) discard() {
	if d.pos > 0 {
		d.br.Discard(d.pos)
		d.begun = true
		d.past += uint64(d.pos)
	}
	d.buf, d.pos = nil, 0
}

// fill reads the next n bytes into p, which is empty, and returns it. Memory is
// allocated in steps, each as large as what has arrived. After an error it
// returns nil.
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

// cut sets the Decoder's error from err, which the reader returned after n
// bytes of a field.
func (d *Decoder) cut(n int, err error) {
	if err == io.EOF && (n > 0 || d.begun) {
		err = io.ErrUnexpectedEOF
	}
	d.Fail(err)
}
