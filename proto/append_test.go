package proto_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
)

// A field is a message with a single field, so that fields are tested in the
// same way as messages.
type field[T any] struct {
	value  T
	encode func(b []byte, v T) ([]byte, error)
	decode func(d *proto.Decoder) T
}

func (f *field[T]) AppendBinary(b []byte) ([]byte, error) { return f.encode(b, f.value) }

func (f *field[T]) DecodeFrom(d *proto.Decoder) error {
	f.value = f.decode(d)
	return d.Err()
}

// testField checks that v encodes to the bytes that wire has in hexadecimal,
// and that they decode to v.
func testField[T any](t *testing.T, wire string, v T, encode func([]byte, T) ([]byte, error), decode func(*proto.Decoder) T) {
	t.Helper()
	b, err := hex.DecodeString(wire)
	require.NoError(t, err)
	messagetest.Encode(t, b, &field[T]{v, encode, decode})
	for name, reader := range messagetest.Readers {
		f := field[T]{decode: decode}
		require.NoError(t, f.DecodeFrom(proto.NewDecoder(reader(bytes.NewReader(b)))), name)
		require.Equal(t, v, f.value, name)
	}
}

// plain turns an encoder that cannot fail into one with the signature of those
// that can.
func plain[T any](f func([]byte, T) []byte) func([]byte, T) ([]byte, error) {
	return func(b []byte, v T) ([]byte, error) { return f(b, v), nil }
}

// withLimit fixes the limit of an encoder.
func withLimit[T any](f func([]byte, T, int) ([]byte, error), limit int) func([]byte, T) ([]byte, error) {
	return func(b []byte, v T) ([]byte, error) { return f(b, v, limit) }
}

func TestFields(t *testing.T) {
	testField(t, "fe", uint8(0xFE), plain(proto.AppendUint8), (*proto.Decoder).Uint8)
	testField(t, "3412", uint16(0x1234), plain(proto.AppendUint16), (*proto.Decoder).Uint16)
	testField(t, "78563412", uint32(0x12345678), plain(proto.AppendUint32), (*proto.Decoder).Uint32)
	testField(t, "f0debc9a78563412", uint64(0x123456789ABCDEF0), plain(proto.AppendUint64), (*proto.Decoder).Uint64)
	testField(t, "000000000000f83f", 1.5, plain(proto.AppendFloat64), (*proto.Decoder).Float64)
	testField(t, "000000000000f0ff", math.Inf(-1), plain(proto.AppendFloat64), (*proto.Decoder).Float64)
	testField(t, "00", false, plain(proto.AppendBool), (*proto.Decoder).Bool)
	testField(t, "01", true, plain(proto.AppendBool), (*proto.Decoder).Bool)
	testField(t, "01", true, plain(proto.AppendOptional), (*proto.Decoder).Optional)

	id := [16]byte([]byte("0123456789abcdef"))
	testField(t, "30313233343536373839616263646566", id, plain(proto.AppendUUID), (*proto.Decoder).UUID)

	text := func(limit int) func(*proto.Decoder) string {
		return func(d *proto.Decoder) string { return d.String(limit) }
	}
	testField(t, "0000", "", proto.AppendString, text(0))
	testField(t, "0500"+hex.EncodeToString([]byte("Zoë!")), "Zoë!", proto.AppendString, text(5))
	testField(t, "0500"+hex.EncodeToString([]byte("Zoë!")), "Zoë!", withLimit(proto.AppendStringMax, 5), text(5))
	for _, n := range []int{15, 16, 17, 64, 65, 4096, 4097, proto.MaxString} {
		s := strings.Repeat("x", n-3) + "€"
		wire := hex.EncodeToString(append([]byte{byte(n), byte(n >> 8)}, s...))
		testField(t, wire, s, proto.AppendString, text(n))
	}

	limited := func(limit int) func(*proto.Decoder) []byte {
		return func(d *proto.Decoder) []byte { return d.Bytes(limit) }
	}
	testField(t, "00000000", nil, withLimit(proto.AppendBytes, 0), limited(0))
	testField(t, "03000000ff00fe", []byte{0xFF, 0, 0xFE}, withLimit(proto.AppendBytes, 3), limited(3))
	long := bytes.Repeat([]byte{7}, 100_000)
	testField(t, "a0860100"+hex.EncodeToString(long), long, withLimit(proto.AppendBytes, 100_000), limited(100_000))

	testField(t, "055a6fc3ab21", "Zoë!", withLimit(proto.AppendString8, 5), func(d *proto.Decoder) string { return d.String8(5) })
	testField(t, "050000005a6fc3ab21", "Zoë!", withLimit(proto.AppendString32, 5), func(d *proto.Decoder) string { return d.String32(5) })
	huge := strings.Repeat("x", 100_000)
	testField(t, "a0860100"+hex.EncodeToString([]byte(huge)), huge, withLimit(proto.AppendString32, 100_000), func(d *proto.Decoder) string { return d.String32(100_000) })
	testField(t, "00", nil, withLimit(proto.AppendBytes8, 0), func(d *proto.Decoder) []byte { return d.Bytes8(0) })
	testField(t, "02ff00", []byte{0xFF, 0}, withLimit(proto.AppendBytes8, 2), func(d *proto.Decoder) []byte { return d.Bytes8(2) })
	testField(t, "0200ff00", []byte{0xFF, 0}, withLimit(proto.AppendBytes16, 2), func(d *proto.Decoder) []byte { return d.Bytes16(2) })

	testField(t, "ff", 255, withLimit(proto.AppendCount8, 255), func(d *proto.Decoder) int { return d.Count8(255) })
	testField(t, "ffff", 65535, withLimit(proto.AppendCount16, 1<<20), func(d *proto.Decoder) int { return d.Count16(1 << 20) })
	testField(t, "00001000", 1<<20, withLimit(proto.AppendCount32, 1<<20), func(d *proto.Decoder) int { return d.Count32(1 << 20) })

	kinds := []kind{2, 7}
	testField(t, "07", 7,
		func(b []byte, v kind) ([]byte, error) { return proto.AppendEnum(b, "kind", v, kinds...) },
		func(d *proto.Decoder) kind { return proto.DecodeEnum(d, "kind", kinds...) })
}

// kind is an enum with gaps.
type kind uint8

// A NaN keeps its bits.
func TestFloat64NaN(t *testing.T) {
	wire := []byte{1, 0, 0, 0, 0, 0, 0xF8, 0x7F}
	v := proto.NewDecoder(bytes.NewReader(wire)).Float64()
	require.True(t, math.IsNaN(v))
	require.Equal(t, wire, proto.AppendFloat64(nil, v))
}

func TestEncodeRefused(t *testing.T) {
	limit := func(what string, size, limit uint64) error {
		return &proto.LimitError{What: what, Size: size, Limit: limit}
	}
	for name, test := range map[string]struct {
		encode func(b []byte) ([]byte, error)
		want   error
	}{
		"string over the encoding's limit": {
			func(b []byte) ([]byte, error) { return proto.AppendString(b, strings.Repeat("x", 65536)) },
			limit("string", 65536, 65535),
		},
		"string over a limit that is too high": {
			func(b []byte) ([]byte, error) { return proto.AppendStringMax(b, strings.Repeat("x", 65536), 1<<20) },
			limit("string", 65536, 65535),
		},
		"string over the caller's limit": {
			func(b []byte) ([]byte, error) { return proto.AppendStringMax(b, "abc", 2) },
			limit("string", 3, 2),
		},
		"short string that is not UTF-8": {
			func(b []byte) ([]byte, error) { return proto.AppendString(b, "a\xC3") },
			proto.ErrUTF8,
		},
		"string that is not UTF-8 at its end": {
			func(b []byte) ([]byte, error) { return proto.AppendString(b, "0123456789abcdefghi\xFF") },
			proto.ErrUTF8,
		},
		"string that is not UTF-8 at its beginning": {
			func(b []byte) ([]byte, error) { return proto.AppendString(b, "\xFF0123456789abcdefghi") },
			proto.ErrUTF8,
		},
		"bytes": {
			func(b []byte) ([]byte, error) { return proto.AppendBytes(b, []byte("abc"), 2) },
			limit("bytes", 3, 2),
		},
		"short string over a u8": {
			func(b []byte) ([]byte, error) { return proto.AppendString8(b, strings.Repeat("x", 256), 1000) },
			limit("string", 256, 255),
		},
		"long string over the caller's limit": {
			func(b []byte) ([]byte, error) { return proto.AppendString32(b, "abc", 2) },
			limit("string", 3, 2),
		},
		"long string that is not UTF-8": {
			func(b []byte) ([]byte, error) { return proto.AppendString32(b, "a\xC3", 2) },
			proto.ErrUTF8,
		},
		"bytes over a u8": {
			func(b []byte) ([]byte, error) { return proto.AppendBytes8(b, make([]byte, 256), 1000) },
			limit("bytes", 256, 255),
		},
		"bytes over a u16": {
			func(b []byte) ([]byte, error) { return proto.AppendBytes16(b, make([]byte, 65536), 1<<20) },
			limit("bytes", 65536, 65535),
		},
		"count over the caller's limit": {
			func(b []byte) ([]byte, error) { return proto.AppendCount8(b, 3, 2) },
			limit("list", 3, 2),
		},
		"count over a u8": {
			func(b []byte) ([]byte, error) { return proto.AppendCount8(b, 256, 1000) },
			limit("list", 256, 255),
		},
		"count over a u16": {
			func(b []byte) ([]byte, error) { return proto.AppendCount16(b, 65536, 1<<20) },
			limit("list", 65536, 65535),
		},
		"count over the caller's limit, u32": {
			func(b []byte) ([]byte, error) { return proto.AppendCount32(b, 3, 2) },
			limit("list", 3, 2),
		},
		"negative limit": {
			func(b []byte) ([]byte, error) { return proto.AppendBytes(b, nil, -1) },
			limit("bytes", 0, 0),
		},
		"enum": {
			func(b []byte) ([]byte, error) { return proto.AppendEnum(b, "kind", kind(3), 2, 7) },
			&proto.EnumError{Name: "kind", Value: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := test.encode([]byte("prefix"))
			require.Equal(t, test.want, err)
			require.ErrorIs(t, err, proto.ErrInvalid)
			require.Equal(t, []byte("prefix"), b)
		})
	}
}

// CutString cuts off whole characters only.
func TestCutString(t *testing.T) {
	for name, want := range map[string]string{
		"Bob's":                              "Bob's",
		strings.Repeat("x", 256):             strings.Repeat("x", 255),
		strings.Repeat("x", 254) + "é":       strings.Repeat("x", 254),
		"a\xffb":                             "a\uFFFDb",
		strings.Repeat("\xff", 256):          "\uFFFD",
		strings.Repeat("x", 253) + "\xffé":   strings.Repeat("x", 253),
		strings.Repeat("x", 252) + "\xffabc": strings.Repeat("x", 252) + "\uFFFD",
	} {
		require.Equal(t, want, proto.CutString(name, 255))
	}
}
