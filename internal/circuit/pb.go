package circuit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxMessage is the size in bytes of the longest protobuf message, without its
// length.
const MaxMessage = 4096

// ErrMalformed is wrapped by every error about bytes that are not such a
// message. Errors of the reader are returned unchanged: io.EOF if it ended
// before the first byte, io.ErrUnexpectedEOF within the message.
var ErrMalformed = errors.New("circuit: malformed message")

// Wire types of protobuf. Groups are not supported.
const (
	wireVarint  = 0
	wire64      = 1
	wireBytes   = 2
	wire32      = 5
	maxFieldNum = 1<<29 - 1
)

// readDelimited reads a length, byte by byte, and that many bytes.
func readDelimited(r io.Reader) ([]byte, error) {
	var length [2]byte // 4096 takes no more
	for i := range length {
		if _, err := io.ReadFull(r, length[i:i+1]); err != nil {
			if i > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if length[i] >= 0x80 {
			continue
		}
		if i > 0 && length[i] == 0 {
			return nil, fmt.Errorf("%w: its length is not encoded in the shortest form", ErrMalformed)
		}
		n, _ := binary.Uvarint(length[:])
		if n > MaxMessage {
			return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, n)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		return b, nil
	}
	return nil, fmt.Errorf("%w: its length is too long", ErrMalformed)
}

// appendDelimited appends the length of a message and the message.
func appendDelimited(b, message []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(message))), message...)
}

func appendVarint(b []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(field)<<3|wireVarint), v)
}

func appendBytes(b []byte, field int, v []byte) []byte {
	return appendDelimited(binary.AppendUvarint(b, uint64(field)<<3|wireBytes), v)
}

// A field is one field of a message: a number, or bytes.
type field struct {
	num    int
	bytes  []byte // nil for a number
	varint uint64
}

// is reports whether f is the field num and a number.
func (f field) is(num int) bool { return f.num == num && f.bytes == nil }

// holds reports whether f is the field num and bytes.
func (f field) holds(num int) bool { return f.num == num && f.bytes != nil }

// eachField calls use for each field that is a number or bytes, and skips the
// others. As in protobuf, the last occurrence of a repeated field counts, and
// messages are merged.
func eachField(b []byte, use func(field) error) error {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		num := key >> 3
		if n <= 0 || num == 0 || num > maxFieldNum {
			return fmt.Errorf("%w: a field's number", ErrMalformed)
		}
		b = b[n:]
		f := field{num: int(num)}
		size := 0
		switch key & 7 {
		case wireVarint:
			if f.varint, n = binary.Uvarint(b); n <= 0 {
				return fmt.Errorf("%w: field %d is cut", ErrMalformed, num)
			}
			b = b[n:]
		case wireBytes:
			length, n := binary.Uvarint(b)
			if n <= 0 || length > uint64(len(b)-n) {
				return fmt.Errorf("%w: field %d is cut", ErrMalformed, num)
			}
			b, size = b[n:], int(length)
			f.bytes = b[:size:size]
		case wire64:
			size, f.num = 8, 0
		case wire32:
			size, f.num = 4, 0
		default:
			return fmt.Errorf("%w: field %d is of wire type %d", ErrMalformed, num, key&7)
		}
		if size > len(b) {
			return fmt.Errorf("%w: field %d is cut", ErrMalformed, num)
		}
		b = b[size:]
		if f.num == 0 {
			continue
		}
		if err := use(f); err != nil {
			return err
		}
	}
	return nil
}
