package proto

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxString is the size in bytes of the longest string that the encoding holds. Messages set lower limits.
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

// AppendOptional appends the byte that says whether a value follows. If present, the caller appends the value next.
func AppendOptional(b []byte, present bool) []byte { return AppendBool(b, present) }

// AppendUUID appends id, 16 bytes. Bytes of any other fixed size, such as a key, are appended with append itself.
func AppendUUID(b []byte, id [16]byte) []byte { return append(b, id[:]...) }

// AppendString appends a u16 length and s. It fails, and returns b as it was, with a [*LimitError] if s is longer than
// [MaxString] bytes, and with [ErrUTF8] if s is not UTF-8.
func AppendString(b []byte, s string) ([]byte, error) { return AppendStringMax(b, s, MaxString) }

// CutString returns what can be sent of a string that is for people, where the limit is so many bytes: its first characters,
// with U+FFFD for what is not UTF-8.
func CutString(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") // the last character may be cut
}

// AppendStringMax is [AppendString] with a limit in bytes, which is at most [MaxString].
func AppendStringMax(b []byte, s string, limit int) ([]byte, error) {
	if limit = min(limit, MaxString); len(s) > limit {
		return b, limitError("string", uint64(len(s)), limit)
	}
	if !validUTF8([]byte(s)) { // the compiler does not copy s
		return b, ErrUTF8
	}
	return append(AppendUint16(b, uint16(len(s))), s...), nil
}

// AppendBytes appends a u32 length and p. It fails with a [*LimitError], and returns b as it was, if p is longer than
// limit, in bytes, or than a u32 can say.
func AppendBytes(b, p []byte, limit int) ([]byte, error) {
	if err := checkSize("bytes", len(p), limit, math.MaxUint32); err != nil {
		return b, err
	}
	return append(AppendUint32(b, uint32(len(p))), p...), nil
}

// AppendCount8 appends n, the number of a list's elements, as a u8. The caller appends the elements next. It fails
// with a [*LimitError], and returns b as it was, if n is more than limit or than a u8 can say.
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

// AppendEnum appends the discriminator v, 1 byte. It fails with an [*EnumError] that carries name, and returns b as it
// was, if v is not among known.
func AppendEnum[E ~uint8](b []byte, name string, v E, known ...E) ([]byte, error) {
	if !slices.Contains(known, v) {
		return b, &EnumError{Name: name, Value: uint8(v)}
	}
	return append(b, uint8(v)), nil
}

// checkSize checks a size against the message's limit and against what its field can hold.
func checkSize(what string, n, limit int, field uint32) error {
	if n < 0 || n > limit {
		return limitError(what, uint64(n), limit)
	}
	if uint64(n) > uint64(field) {
		return &LimitError{What: what, Size: uint64(n), Limit: uint64(field)}
	}
	return nil
}

// validUTF8 is utf8.Valid, quicker where p is ASCII, as most names are.
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
