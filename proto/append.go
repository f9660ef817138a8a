package proto

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxString is the size in bytes of the longest string that a u16 length
// allows. Messages set lower limits.
const MaxString = math.MaxUint16

// AppendUint8 appends v, 1 byte.
func AppendUint8(b []byte, v uint8) []byte { return append(b, v) }

// AppendUint16 appends v, 2 bytes.
func AppendUint16(b []byte, v uint16) []byte { return binary.LittleEndian.AppendUint16(b, v) }

// AppendUint32 appends v, 4 bytes.
func AppendUint32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }

// AppendUint64 appends v, 8 bytes.
func AppendUint64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

// AppendFloat64 appends the IEEE 754 bits of v, 8 bytes.
func AppendFloat64(b []byte, v float64) []byte { return AppendUint64(b, math.Float64bits(v)) }

// AppendBool appends v as 0 or 1, 1 byte.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendOptional appends the byte that says whether a value follows. If
// present, the caller appends the value next.
func AppendOptional(b []byte, present bool) []byte { return AppendBool(b, present) }

// AppendUUID appends id, 16 bytes. Use the built-in append for bytes of any
// other fixed size, such as a key.
func AppendUUID(b []byte, id [16]byte) []byte { return append(b, id[:]...) }

// AppendString appends a u16 length and s. It fails with a [*LimitError] if s
// is longer than [MaxString] bytes, and with [ErrUTF8] if s is not UTF-8; it
// then returns b unchanged.
func AppendString(b []byte, s string) ([]byte, error) { return AppendStringMax(b, s, MaxString) }

// CutString cuts a string for people to at most limit bytes, at the end of a
// character, and replaces invalid UTF-8 with U+FFFD, so that it can be sent.
func CutString(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") // the last character may be cut
}

// AppendStringMax is [AppendString] with a limit in bytes, which is at most
// [MaxString].
func AppendStringMax(b []byte, s string, limit int) ([]byte, error) {
	if limit = min(limit, MaxString); len(s) > limit {
		return b, limitError("string", uint64(len(s)), limit)
	}
	if !validUTF8([]byte(s)) { // the compiler does not copy s
		return b, ErrUTF8
	}
	return append(AppendUint16(b, uint16(len(s))), s...), nil
}

// AppendString8 is [AppendStringMax] with a u8 length.
func AppendString8(b []byte, s string, limit int) ([]byte, error) {
	if err := checkText(s, limit, math.MaxUint8); err != nil {
		return b, err
	}
	return append(AppendUint8(b, uint8(len(s))), s...), nil
}

// AppendString32 is [AppendStringMax] with a u32 length, for strings of more
// than [MaxString] bytes.
func AppendString32(b []byte, s string, limit int) ([]byte, error) {
	if err := checkText(s, limit, math.MaxUint32); err != nil {
		return b, err
	}
	return append(AppendUint32(b, uint32(len(s))), s...), nil
}

// checkText checks that a string is UTF-8, within the message's limit, and not
// longer than its length field can express.
func checkText(s string, limit int, field uint32) error {
	if err := checkSize("string", len(s), limit, field); err != nil {
		return err
	}
	if !validUTF8([]byte(s)) { // the compiler does not copy s
		return ErrUTF8
	}
	return nil
}

// AppendBytes appends a u32 length and p. If p is longer than limit bytes or
// than a u32 can express, it fails with a [*LimitError] and returns b
// unchanged.
func AppendBytes(b, p []byte, limit int) ([]byte, error) {
	if err := checkSize("bytes", len(p), limit, math.MaxUint32); err != nil {
		return b, err
	}
	return append(AppendUint32(b, uint32(len(p))), p...), nil
}

// AppendBytes8 is [AppendBytes] with a u8 length.
func AppendBytes8(b, p []byte, limit int) ([]byte, error) {
	if err := checkSize("bytes", len(p), limit, math.MaxUint8); err != nil {
		return b, err
	}
	return append(AppendUint8(b, uint8(len(p))), p...), nil
}

// AppendBytes16 is [AppendBytes] with a u16 length.
func AppendBytes16(b, p []byte, limit int) ([]byte, error) {
	if err := checkSize("bytes", len(p), limit, math.MaxUint16); err != nil {
		return b, err
	}
	return append(AppendUint16(b, uint16(len(p))), p...), nil
}

// AppendCount8 appends n, the number of a list's elements, as a u8. The caller
// appends the elements next. If n is more than limit or than a u8 can express,
// it fails with a [*LimitError] and returns b unchanged.
func AppendCount8(b []byte, n, limit int) ([]byte, error) {
	if err := checkSize("list", n, limit, math.MaxUint8); err != nil {
		return b, err
	}
	return AppendUint8(b, uint8(n)), nil
}

// AppendCount16 is [AppendCount8] with a u16.
func AppendCount16(b []byte, n, limit int) ([]byte, error) {
	if err := checkSize("list", n, limit, math.MaxUint16); err != nil {
		return b, err
	}
	return AppendUint16(b, uint16(n)), nil
}

// AppendCount32 is [AppendCount8] with a u32.
func AppendCount32(b []byte, n, limit int) ([]byte, error) {
	if err := checkSize("list", n, limit, math.MaxUint32); err != nil {
		return b, err
	}
	return AppendUint32(b, uint32(n)), nil
}

// AppendEnum appends the discriminator v, 1 byte. If v is not among known, it
// fails with an [*EnumError] that carries name and returns b unchanged.
func AppendEnum[E ~uint8](b []byte, name string, v E, known ...E) ([]byte, error) {
	if !slices.Contains(known, v) {
		return b, &EnumError{Name: name, Value: uint8(v)}
	}
	return append(b, uint8(v)), nil
}

// checkSize checks a size against the message's limit and the largest value of
// its field.
func checkSize(what string, n, limit int, field uint32) error {
	if n < 0 || n > limit {
		return limitError(what, uint64(n), limit)
	}
	if uint64(n) > uint64(field) {
		return &LimitError{What: what, Size: uint64(n), Limit: uint64(field)}
	}
	return nil
}

// validUTF8 is like utf8.Valid, but faster for ASCII, as most names are.
func validUTF8(p []byte) bool {
	const high = 0x8080808080808080 // the bit that no ASCII byte has
	if len(p) < 8 {
		return utf8.Valid(p)
	}
	all := binary.LittleEndian.Uint64(p[len(p)-8:])
	for q := p; len(q) > 8; q = q[8:] {
		all |= binary.LittleEndian.Uint64(q)
	}
	return all&high == 0 || utf8.Valid(p)
}
