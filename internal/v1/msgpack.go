package v1

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/sdp2p/p2p/proto"
)

// The part of MessagePack
// (https://github.com/msgpack/msgpack/blob/master/spec.md) that a map of
// strings to strings needs. Lengths are big-endian.
const (
	msgpackFixmap = 0x80 // to 0x8F, the low 4 bits are the count
	msgpackMap16  = 0xDE // a 2-byte count follows
	msgpackMap32  = 0xDF // 4 bytes
	msgpackFixstr = 0xA0 // to 0xBF, the low 5 bits are the length
	msgpackStr8   = 0xD9 // a 1-byte length follows
	msgpackStr16  = 0xDA // 2 bytes
	msgpackStr32  = 0xDB // 4 bytes
)

// msgpackMapSize returns the size in bytes of the head of a map of n entries.
func msgpackMapSize(n int) int {
	switch {
	case n <= 15:
		return 1
	case n <= math.MaxUint16:
		return 3
	default:
		return 5
	}
}

// msgpackStringSize returns the size in bytes of s and its head.
func msgpackStringSize(s string) int {
	switch {
	case len(s) <= 31:
		return 1 + len(s)
	case len(s) <= math.MaxUint8:
		return 2 + len(s)
	case len(s) <= math.MaxUint16:
		return 3 + len(s)
	default:
		return 5 + len(s)
	}
}

// appendMsgpackMap appends the head of a map of n entries, at most 65535, in
// its shortest form.
func appendMsgpackMap(b []byte, n int) []byte {
	if n <= 15 {
		return append(b, msgpackFixmap|byte(n))
	}
	return binary.BigEndian.AppendUint16(append(b, msgpackMap16), uint16(n))
}

// appendMsgpackString appends s, at most 65535 bytes, in its shortest form.
func appendMsgpackString(b []byte, s string) []byte {
	switch {
	case len(s) <= 31:
		b = append(b, msgpackFixstr|byte(len(s)))
	case len(s) <= math.MaxUint8:
		b = append(b, msgpackStr8, byte(len(s)))
	default:
		b = binary.BigEndian.AppendUint16(append(b, msgpackStr16), uint16(len(s)))
	}
	return append(b, s...)
}

// parseMsgpackMap parses p as a map.
func parseMsgpackMap(p []byte) (map[string]string, error) {
	r := msgpackReader{p: p}
	n := r.mapHead()
	m := make(map[string]string, min(n, 16)) // grows as further entries prove to exist
	for range n {
		key, value := r.str(), r.str()
		if r.err != nil {
			break
		}
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return nil, &proto.MetadataError{Key: key, Err: proto.ErrUTF8}
		}
		if _, ok := m[key]; ok {
			return nil, &proto.MetadataError{Key: key, Err: proto.ErrMetadataDuplicate}
		}
		m[key] = value
	}
	if len(r.p) > 0 {
		r.fail("%d bytes behind the map", len(r.p))
	}
	return m, r.err
}

// A msgpackReader takes values off p. Its error is sticky.
type msgpackReader struct {
	p   []byte
	err error
}

func (r *msgpackReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMetadata, fmt.Sprintf(format, args...))
	}
}

// mapHead takes the head of a map and returns the number of its entries, each
// of which takes at least 2 bytes.
func (r *msgpackReader) mapHead() int {
	var n uint64
	switch c := r.uint(1); {
	case c&0xF0 == msgpackFixmap:
		n = c & 0x0F
	case c == msgpackMap16:
		n = r.uint(2)
	case c == msgpackMap32:
		n = r.uint(4)
	default:
		r.fail("byte %#02x begins no map", c)
	}
	if n > uint64(len(r.p)/2) {
		r.fail("%d entries announced, %d bytes left", n, len(r.p))
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// str takes a string, which need not be UTF-8.
func (r *msgpackReader) str() string {
	var n uint64
	switch c := r.uint(1); {
	case c&0xE0 == msgpackFixstr:
		n = c & 0x1F
	case c == msgpackStr8:
		n = r.uint(1)
	case c == msgpackStr16:
		n = r.uint(2)
	case c == msgpackStr32:
		n = r.uint(4)
	default:
		r.fail("byte %#02x begins no string", c)
	}
	return string(r.take(n))
}

// uint takes a big-endian integer of n bytes, at most 8.
func (r *msgpackReader) uint(n uint64) uint64 {
	var v uint64
	for _, c := range r.take(n) {
		v = v<<8 | uint64(c)
	}
	return v
}

// take takes n bytes.
func (r *msgpackReader) take(n uint64) []byte {
	if r.err == nil && n > uint64(len(r.p)) {
		r.fail("%d bytes wanted, %d left", n, len(r.p))
	}
	if r.err != nil {
		return nil
	}
	p := r.p[:n]
	r.p = r.p[n:]
	return p
}
