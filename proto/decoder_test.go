package proto_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
)

// everything reads a field of each type, and checks that each is zero.
func everything(t *testing.T, d *proto.Decoder) {
	t.Helper()
	require.Zero(t, d.Uint8())
	require.Zero(t, d.Uint16())
	require.Zero(t, d.Uint32())
	require.Zero(t, d.Uint64())
	require.Zero(t, d.Float64())
	require.Zero(t, d.Bool())
	require.Zero(t, d.Optional())
	require.Zero(t, d.UUID())
	require.Zero(t, d.String(100))
	require.Zero(t, d.Bytes(100))
	require.Zero(t, d.Count8(100))
	require.Zero(t, d.Count16(100))
	require.Zero(t, d.Count32(100))
	require.Zero(t, proto.DecodeEnum(d, "kind", kind(2), 7))
	require.Nil(t, proto.DecodeList(d, 3, func(*int, *proto.Decoder) error {
		t.Error("an element was decoded after an error")
		return nil
	}))
	p := []byte{1, 2, 3}
	d.Fixed(p)
}

// The first error stays, and nothing is read after it.
func TestDecoderSticky(t *testing.T) {
	for name, reader := range messagetest.Readers {
		t.Run(name, func(t *testing.T) {
			ones := bytes.Repeat([]byte{1}, 1000)
			r := reader(bytes.NewReader(append([]byte{2}, ones...)))
			d := proto.NewDecoder(r)
			d.Bool()
			everything(t, d)
			err := d.Err()
			require.ErrorIs(t, err, proto.ErrBool)
			d.Fail(errors.New("another"))
			require.Equal(t, err, d.Err())
			rest, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, ones, rest)
		})
	}
}

func TestDecoderFail(t *testing.T) {
	d := proto.NewDecoder(strings.NewReader("abc"))
	d.Fail(nil)
	require.NoError(t, d.Err())
	require.EqualValues(t, 'a', d.Uint8())
	mine := errors.New("mine")
	d.Fail(mine)
	everything(t, d)
	require.Equal(t, mine, d.Err())
}

// One Decoder can read message after message of a stream, and other readers can
// read between them.
func TestDecoderReset(t *testing.T) {
	for name, reader := range messagetest.Readers {
		t.Run(name, func(t *testing.T) {
			r := reader(strings.NewReader("\x01\x00a" + "raw" + "\x01\x00b" + "\x02"))
			d := proto.NewDecoder(r)
			require.Equal(t, "a", d.String(1))
			require.NoError(t, d.Err())

			raw := make([]byte, 3)
			_, err := io.ReadFull(r, raw)
			require.NoError(t, err)
			require.Equal(t, "raw", string(raw))

			// The same message goes on.
			require.Equal(t, "b", d.String(1))
			require.NoError(t, d.Err())

			d.Reset(r)
			require.False(t, d.Bool())
			require.ErrorIs(t, d.Err(), proto.ErrBool)

			// A new message that has not even begun.
			d.Reset(r)
			d.Bool()
			require.Equal(t, io.EOF, d.Err())

			// A message that has begun, and is cut off.
			r = reader(strings.NewReader("\x01"))
			d.Reset(r)
			require.True(t, d.Bool())
			require.NoError(t, d.Err())
			d.Bool()
			require.Equal(t, io.ErrUnexpectedEOF, d.Err())
		})
	}
}

// Reset gives back bytes that were read ahead, even without a call of Err.
func TestDecoderResetWithoutErr(t *testing.T) {
	r := bufio.NewReader(strings.NewReader("ab"))
	d := proto.NewDecoder(r)
	require.EqualValues(t, 'a', d.Uint8())
	d.Reset(r)
	c, err := r.ReadByte()
	require.NoError(t, err)
	require.EqualValues(t, 'b', c)
}

// The Decoder waits for the bytes of a field, but for nothing more. If it did,
// the bubble would report a deadlock.
func TestDecoderDoesNotWaitForMore(t *testing.T) {
	for _, name := range []string{"plain", "buffered"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				go func() {
					for _, part := range []string{"\x01", "\x05\x00he", "llo"} {
						w.Write([]byte(part))
					}
				}()
				d := proto.NewDecoder(messagetest.Readers[name](r))
				require.True(t, d.Bool())
				require.NoError(t, d.Err())
				require.Equal(t, "hello", d.String(5))
				require.NoError(t, d.Err())
			})
		})
	}
}

func TestDecodeList(t *testing.T) {
	uint16s := func(v *uint16, d *proto.Decoder) error {
		*v = d.Uint16()
		return nil // the Decoder's error is noticed nevertheless
	}
	wire := make([]byte, 0, 2*65535)
	want := make([]uint16, 0, 65535)
	for i := range 65535 {
		wire = proto.AppendUint16(wire, uint16(i))
		want = append(want, uint16(i))
	}
	for name, reader := range messagetest.Readers {
		t.Run(name, func(t *testing.T) {
			d := proto.NewDecoder(reader(bytes.NewReader(wire)))
			require.Equal(t, want, proto.DecodeList(d, len(want), uint16s))
			require.NoError(t, d.Err())

			calls := 0
			d = proto.NewDecoder(reader(bytes.NewReader(wire)))
			require.Nil(t, proto.DecodeList(d, 1<<20, func(v *uint16, d *proto.Decoder) error {
				calls++
				return uint16s(v, d)
			}))
			require.Equal(t, io.ErrUnexpectedEOF, d.Err())
			require.Equal(t, len(want)+1, calls, "no more elements may be decoded after the stream's end")

			d = proto.NewDecoder(reader(bytes.NewReader(wire)))
			require.Nil(t, proto.DecodeList(d, 0, uint16s))
			require.NoError(t, d.Err())

			// An element's own error ends the list.
			mine := errors.New("mine")
			calls = 0
			d = proto.NewDecoder(reader(bytes.NewReader(wire)))
			require.Nil(t, proto.DecodeList(d, 10, func(*uint16, *proto.Decoder) error {
				if calls++; calls == 3 {
					return mine
				}
				return nil
			}))
			require.Equal(t, mine, d.Err())
			require.Equal(t, 3, calls)
		})
	}
}

// Elements without a size cause no division by zero.
func TestDecodeListEmptyElements(t *testing.T) {
	d := proto.NewDecoder(strings.NewReader(""))
	require.Len(t, proto.DecodeList(d, 20_000, func(*struct{}, *proto.Decoder) error { return nil }), 20_000)
}

// A false length costs hardly any memory: the limit allows it, but the bytes
// never come.
func TestDecoderLyingLength(t *testing.T) {
	const most = 32 << 10 // 16 KiB ahead, the readers' own buffers, and some reserve
	type element [100]byte
	for name, decode := range map[string]func(*proto.Decoder){
		"string": func(d *proto.Decoder) { d.String(proto.MaxString) },
		"bytes":  func(d *proto.Decoder) { d.Bytes(1<<31 - 1) },
		"list": func(d *proto.Decoder) {
			proto.DecodeList(d, d.Count32(1<<31-1), func(e *element, d *proto.Decoder) error {
				d.Fixed(e[:])
				return d.Err()
			})
		},
		"nested list": func(d *proto.Decoder) {
			proto.DecodeList(d, d.Count16(1<<16), func(inner *[]element, d *proto.Decoder) error {
				*inner = proto.DecodeList(d, d.Count8(1<<16), func(e *element, d *proto.Decoder) error {
					d.Fixed(e[:])
					return d.Err()
				})
				return d.Err()
			})
		},
		"metadata": func(d *proto.Decoder) { new(proto.Metadata).DecodeFrom(d) },
	} {
		for _, wire := range []string{"\xFF\xFF\xFF\x7F", "\x80\x00\x00\x00", "\x00\x20\x00\x00\x00\x00\x00\x00"} {
			for reader, wrap := range messagetest.Readers {
				if reader == "buffered, large" {
					continue
				}
				got := messagetest.Allocated(func() { decode(proto.NewDecoder(wrap(strings.NewReader(wire + "abc")))) })
				limit := uint64(most)
				if name == "nested list" {
					limit *= 2
				}
				require.LessOrEqual(t, got, limit, "%s, %q, %s", name, wire, reader)
			}
		}
	}
}

// Bytes that do arrive cost at most three times their size.
func TestDecoderStepsDouble(t *testing.T) {
	const n = 4 << 20
	wire := append([]byte{0, 0, 0x40, 0}, make([]byte, n)...)
	got := messagetest.Allocated(func() {
		require.Len(t, proto.NewDecoder(bytes.NewReader(wire)).Bytes(n), n)
	})
	require.LessOrEqual(t, got, uint64(3*n))

	// The input says 4 MiB, and ends just before 64 KiB.
	got = messagetest.Allocated(func() {
		d := proto.NewDecoder(bytes.NewReader(wire[:64<<10]))
		require.Nil(t, d.Bytes(n))
		require.Equal(t, io.ErrUnexpectedEOF, d.Err())
	})
	require.LessOrEqual(t, got, uint64(256<<10))
}

// Decoded values do not change when the Decoder and its reader go on.
func TestDecoderKeepsNothingShared(t *testing.T) {
	wire := strings.Repeat("\x03\x00abc"+"\x03\x00\x00\x00def", 2) + strings.Repeat("\xFF", 64)
	for name, reader := range messagetest.Readers {
		d := proto.NewDecoder(reader(strings.NewReader(wire)))
		s, p := d.String(3), d.Bytes(3)
		d.String(3)
		d.Bytes(3)
		for range 8 {
			d.Uint64()
		}
		require.NoError(t, d.Err(), name)
		require.Equal(t, "abc", s, name)
		require.Equal(t, []byte("def"), p, name)
	}
}

// Decoding scalars and short strings allocates the strings and nothing else.
func TestDecoderAllocations(t *testing.T) {
	wire := []byte("\x01" + "\x14\x000123456789abcdefghij" + strings.Repeat("\x00", 16+8))
	for _, name := range []string{"plain", "buffered"} {
		src := bytes.NewReader(wire)
		r := io.Reader(src)
		br := bufio.NewReader(src)
		if name == "buffered" {
			r = br
		}
		d := proto.NewDecoder(r)
		require.EqualValues(t, 1, testing.AllocsPerRun(100, func() {
			src.Reset(wire)
			br.Reset(src)
			d.Reset(r)
			d.Bool()
			s := d.String(20)
			d.UUID()
			d.Uint64()
			if d.Err() != nil || len(s) != 20 {
				t.Fatal(d.Err())
			}
		}), name)
	}
}

// A field that is cut off is zero, and so are those after it.
func TestDecoderCutFieldIsZero(t *testing.T) {
	for name, reader := range messagetest.Readers {
		for _, decode := range []func(d *proto.Decoder) any{
			func(d *proto.Decoder) any { return d.Uint32() },
			func(d *proto.Decoder) any { return d.UUID() },
			func(d *proto.Decoder) any { return d.String(100) },
			func(d *proto.Decoder) any { return d.Bytes(1 << 20) },
		} {
			d := proto.NewDecoder(reader(strings.NewReader("\x20\x00\x01")))
			require.Zero(t, decode(d), name)
			require.Equal(t, io.ErrUnexpectedEOF, d.Err(), name)
		}
	}
}

// Reading no bytes does not begin a message.
func TestDecoderFixedNothing(t *testing.T) {
	d := proto.NewDecoder(strings.NewReader(""))
	d.Fixed(nil)
	require.NoError(t, d.Err())
	d.Bool()
	require.Equal(t, io.EOF, d.Err())
}

// An error of the reader is passed on unchanged, wherever it occurs.
func TestDecoderReaderError(t *testing.T) {
	d := proto.NewDecoder(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("\x05\x00hello"))))
	require.Empty(t, d.String(5))
	require.Equal(t, iotest.ErrTimeout, d.Err())
	require.NotErrorIs(t, d.Err(), proto.ErrInvalid)
}

// The memory for a long string is not kept for the next messages.
func TestDecoderResetForgetsLongStrings(t *testing.T) {
	const n = 60_000
	wire := proto.AppendUint16(nil, n)
	wire = append(wire, strings.Repeat("x", n)...)
	r := bytes.NewReader(nil)
	d := proto.NewDecoder(r)
	require.GreaterOrEqual(t, messagetest.Allocated(func() {
		r.Reset(wire)
		d.Reset(r)
		require.Len(t, d.String(n), n)
	}), uint64(2*n))
}

// Whatever is read in whatever order, all kinds of readers give the same
// fields, the same error, and the same rest.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, bytes.Repeat([]byte("\x01\x00a"), 100))
	f.Add([]byte{6, 9, 6, 9, 6}, []byte("\x14\x000123456789abcdefghij"+"\x14\x000123456789abcdefghij"+"\x41\x00"+strings.Repeat("x", 65)))
	f.Add([]byte{7, 8, 0}, []byte("\x03\x00\x00\x00abc"+"\x02\x01\x02\x03\x04"+"z"))
	f.Fuzz(func(t *testing.T, fields, wire []byte) {
		type outcome struct {
			fields []any
			rest   []byte
			err    error
		}
		decode := func(r io.Reader) (o outcome) {
			d := proto.NewDecoder(r)
			for _, field := range fields {
				var v any
				switch field % 10 {
				case 0:
					v = d.Uint8()
				case 1:
					v = d.Uint16()
				case 2:
					v = d.Uint32()
				case 3:
					v = d.Uint64()
				case 4:
					v = d.Bool()
				case 5:
					v = d.UUID()
				case 6:
					v = d.String(300)
				case 7:
					v = d.Bytes(300)
				case 8:
					v = proto.DecodeList(d, d.Count8(100), func(v *uint16, d *proto.Decoder) error {
						*v = d.Uint16()
						return d.Err()
					})
				case 9:
					v = d.Err()
				}
				o.fields = append(o.fields, v)
			}
			if o.err = d.Err(); o.err == nil {
				o.rest, _ = io.ReadAll(r)
			}
			return o
		}
		want := decode(bytes.NewReader(wire))
		for name, reader := range messagetest.Readers {
			require.Equal(t, want, decode(reader(bytes.NewReader(wire))), name)
		}
	})
}

func TestDecodeRefused(t *testing.T) {
	for name, test := range map[string]struct {
		wire   string
		decode func(d *proto.Decoder) any
		want   string
	}{
		"bool": {"\x02", func(d *proto.Decoder) any { return d.Bool() },
			"proto: invalid bool: 2"},
		"optional": {"\xFF", func(d *proto.Decoder) any { return d.Optional() },
			"proto: invalid bool: 255"},
		"enum": {"\x03", func(d *proto.Decoder) any { return proto.DecodeEnum(d, "kind", kind(2), 7) },
			"proto: invalid kind: unknown discriminator 3"},
		"string over the limit": {"\x03\x00abc", func(d *proto.Decoder) any { return d.String(2) },
			"proto: invalid string: size 3 is over the limit of 2"},
		"string, negative limit": {"\x00\x00", func(d *proto.Decoder) any { return d.String(-1) },
			"proto: invalid string: size 0 is over the limit of 0"},
		"string that is not UTF-8": {"\x02\x00a\xC3", func(d *proto.Decoder) any { return d.String(2) },
			"proto: invalid UTF-8"},
		"long string that is not UTF-8": {"\x14\x000123456789\xFFabcdefghi", func(d *proto.Decoder) any { return d.String(20) },
			"proto: invalid UTF-8"},
		"surrogate": {"\x03\x00\xED\xA0\x80", func(d *proto.Decoder) any { return d.String(3) },
			"proto: invalid UTF-8"},
		"overlong": {"\x02\x00\xC0\x80", func(d *proto.Decoder) any { return d.String(2) },
			"proto: invalid UTF-8"},
		"bytes over the limit": {"\x03\x00\x00\x00abc", func(d *proto.Decoder) any { return d.Bytes(2) },
			"proto: invalid bytes: size 3 is over the limit of 2"},
		"string8 over the limit": {"\x03abc", func(d *proto.Decoder) any { return d.String8(2) },
			"proto: invalid string: size 3 is over the limit of 2"},
		"string8 that is not UTF-8": {"\x02a\xC3", func(d *proto.Decoder) any { return d.String8(2) },
			"proto: invalid UTF-8"},
		"string32 far over the limit": {"\xFF\xFF\xFF\xFF", func(d *proto.Decoder) any { return d.String32(1 << 20) },
			"proto: invalid string: size 4294967295 is over the limit of 1048576"},
		"bytes8 over the limit": {"\x03abc", func(d *proto.Decoder) any { return d.Bytes8(2) },
			"proto: invalid bytes: size 3 is over the limit of 2"},
		"bytes16 over the limit": {"\x03\x00abc", func(d *proto.Decoder) any { return d.Bytes16(2) },
			"proto: invalid bytes: size 3 is over the limit of 2"},
		"bytes far over the limit": {"\xFF\xFF\xFF\xFF", func(d *proto.Decoder) any { return d.Bytes(1 << 20) },
			"proto: invalid bytes: size 4294967295 is over the limit of 1048576"},
		"bytes, negative limit": {"\x00\x00\x00\x00", func(d *proto.Decoder) any { return d.Bytes(-1) },
			"proto: invalid bytes: size 0 is over the limit of 0"},
		"count8": {"\x03", func(d *proto.Decoder) any { return d.Count8(2) },
			"proto: invalid list: size 3 is over the limit of 2"},
		"count16": {"\x00\x01", func(d *proto.Decoder) any { return d.Count16(2) },
			"proto: invalid list: size 256 is over the limit of 2"},
		"count32": {"\x00\x00\x00\x80", func(d *proto.Decoder) any { return d.Count32(2) },
			"proto: invalid list: size 2147483648 is over the limit of 2"},
	} {
		t.Run(name, func(t *testing.T) {
			for name, reader := range messagetest.Readers {
				d := proto.NewDecoder(reader(bytes.NewReader([]byte(test.wire))))
				require.Zero(t, test.decode(d), name)
				require.EqualError(t, d.Err(), test.want, name)
				require.ErrorIs(t, d.Err(), proto.ErrInvalid, name)
			}
		})
	}
}
