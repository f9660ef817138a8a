package block

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

type wire interface {
	AppendBinary([]byte) ([]byte, error)
}

var (
	sampleHello   = hello{id: [16]byte{1, 2, 3}}
	sampleEntries = []entry{
		{kind: kindFolder, path: "a", mode: 0o755, seconds: -62135596800},
		{kind: kindFile, path: "a/ü.txt", mode: 0o640, seconds: 1 << 40, nanos: 999_999_999, id: [16]byte{9}, size: math.MaxInt64, stored: 77},
		{kind: kindLeftOut, path: "a/link", code: 12},
		{kind: kindOffered, totals: totals{files: 1, folders: 2, leftOut: 3, bytes: math.MaxInt64, stored: 5}},
	}
	sampleWishes = []wish{
		{verdict: verdictNo}, {verdict: verdictWhole}, {verdict: verdictHave}, {verdict: verdictName},
		{verdict: verdictFrom, claims: []hash{{1}, {2}}}, {verdict: verdictPart, start: 3, end: 1 << 20},
	}
	sampleMessages = []message{
		{kind: kindKeep}, {kind: kindAnswer}, {kind: kindBegin, entry: 7, chunk: 9}, {kind: kindData, size: maxData},
		{kind: kindChunk, hash: hash{1}}, {kind: kindEnd, hash: hash{2}}, {kind: kindFailed, entry: 65534, code: 3, reason: "why"},
		{kind: kindRepair, entry: 1, chunk: 2}, {kind: kindSent}, {kind: kindProgress, received: 5, verified: math.MaxUint64},
		{kind: kindDone}, {kind: kindAbort, code: 200, reason: "ü"}, {kind: kindHole, size: maxHole},
		{kind: kindHashes, entry: 3, hashes: []hash{{1}, {2}}}, {kind: kindOld, size: maxHole},
		{kind: kindClaims, entry: 3, states: []chunkState{chunkThere, chunkComes}}, {kind: kindPacked, size: maxUnpacked},
		{kind: kindClaims, entry: 3, states: []chunkState{chunkPieces}, pieces: []uint64{1, math.MaxUint64}},
	}
)

// check encodes a value after some other bytes, and decodes it as it arrives
// byte by byte, and each truncation of it.
func check[T any](t *testing.T, v T, encode func(T, []byte) ([]byte, error), decode func(*T, *proto.Decoder) error) {
	t.Helper()
	b, err := encode(v, []byte("before"))
	require.NoError(t, err)
	b, ok := bytes.CutPrefix(b, []byte("before"))
	require.True(t, ok)
	r := iotest.OneByteReader(bytes.NewReader(append(bytes.Clone(b), 'x')))
	var got T
	require.NoError(t, decode(&got, proto.NewDecoder(r)))
	require.Equal(t, v, got)
	left := make([]byte, 1)
	_, err = r.Read(left)
	require.NoError(t, err)
	require.Equal(t, "x", string(left))
	for n := range b {
		var cut T
		require.Error(t, decode(&cut, proto.NewDecoder(bytes.NewReader(b[:n]))), "%+v cut at %d", v, n)
	}
}

func TestMessages(t *testing.T) {
	check(t, sampleHello, func(m hello, b []byte) ([]byte, error) { return m.AppendBinary(b) }, (*hello).DecodeFrom)
	for _, m := range sampleEntries {
		check(t, m, func(m entry, b []byte) ([]byte, error) { return m.AppendBinary(b) }, (*entry).DecodeFrom)
	}
	for _, m := range sampleWishes {
		check(t, m, func(m wish, b []byte) ([]byte, error) { return m.AppendBinary(b) }, func(m *wish, d *proto.Decoder) error {
			return m.decode(d, 1<<20, 100)
		})
	}
	for _, m := range sampleMessages {
		check(t, m, func(m message, b []byte) ([]byte, error) { return m.AppendBinary(b) }, (*message).DecodeFrom)
	}
}

// The messages have the bytes in docs/protocol.md.
func TestMessageBytes(t *testing.T) {
	for want, m := range map[string]wire{
		"B\x02\x01\x02\x03" + strings.Repeat("\x00", 13):                        &sampleHello,
		"\x01\x01\x00a\xED\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00": &entry{kind: kindFolder, path: "a", mode: 0o755},
		"\x02\x01\x00b\xA4\x01\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x07" + strings.Repeat("\x00", 15) + "\x05\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00": &entry{
			kind: kindFile, path: "b", mode: 0o644, seconds: 1, nanos: 2, id: [16]byte{7}, size: 5, stored: 4},
		"\x0F\x01\x00b\x0C": &entry{kind: kindLeftOut, path: "b", code: 12},
		"\x03\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00": &entry{
			kind: kindOffered, totals: totals{1, 2, 3, 4, 2}},
		"\x04\x01\x00\x00\x00\x08" + strings.Repeat("\x00", 31):                            &wish{verdict: verdictFrom, claims: []hash{{8}}},
		"\x05\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00":             &wish{verdict: verdictPart, start: 1, end: 2},
		"\x05\x01\x00\x02\x00\x00\x00":                                                     &message{kind: kindBegin, entry: 1, chunk: 2},
		"\x06\x00\x00\x04\x00":                                                             &message{kind: kindData, size: maxData},
		"\x09\x01\x00\x03\x02\x00no":                                                       &message{kind: kindFailed, entry: 1, code: 3, reason: "no"},
		"\x0A\x01\x00\x02\x00\x00\x00":                                                     &message{kind: kindRepair, entry: 1, chunk: 2},
		"\x10\x00\x00\x00\x01":                                                             &message{kind: kindHole, size: maxHole},
		"\x11\x01\x00\x01\x00\x00\x00\x08" + strings.Repeat("\x00", 31):                    &message{kind: kindHashes, entry: 1, hashes: []hash{{8}}},
		"\x12\x01\x00\x01\x00\x00\x00\x02\x01\x00\x00\x00\x09" + strings.Repeat("\x00", 7): &message{kind: kindClaims, entry: 1, states: []chunkState{2}, pieces: []uint64{9}},
		"\x13\x00\x00\x00\x01":                                                             &message{kind: kindOld, size: maxHole},
		"\x0B":                                                                             &message{kind: kindSent},
		"\x0D":                                                                             &message{kind: kindDone},
		"\x0E\x01\x00\x00":                                                                 &message{kind: kindAbort, code: 1},
		"\x0C\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00": &message{kind: kindProgress, received: 1, verified: 2},
	} {
		b, err := m.AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
}

func TestMessagesInvalid(t *testing.T) {
	for name, b := range map[string]string{
		"a kind that is none": "\x15", "no hashes": "\x11\x00\x00\x00\x00\x00\x00", "no claims": "\x12\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"too many hashes": "\x11\x00\x00\x01\x00\x01\x00", "a state that is none": "\x12\x00\x00\x01\x00\x00\x00\x03", "too many pieces": "\x12\x00\x00\x01\x00\x00\x00\x02\x01\x00\x01\x00",
		"too much old data": "\x13\x01\x00\x00\x01",
		"no hole":           "\x10\x00\x00\x00\x00", "too long a hole": "\x10\x01\x00\x00\x01", "no data": "\x06\x00\x00\x00\x00", "too much data": "\x06\x01\x00\x04\x00",
		"a reason that is too long": "\x0E\x01\x01\x04" + strings.Repeat("x", 1025), "a reason that is not UTF-8": "\x0E\x01\x01\x00\xFF",
		"raw": "\xFF",
	} {
		require.ErrorIs(t, new(message).DecodeFrom(proto.NewDecoder(strings.NewReader(b))), proto.ErrInvalid, name)
	}
	for _, e := range []entry{
		{kind: kindFile, size: 1, stored: 2}, {kind: kindOffered, totals: totals{stored: 1}}, {kind: kindOffered, totals: totals{bytes: -1}},
		{kind: kindFile, mode: 0o1000}, {kind: kindFile, nanos: 1e9}, {kind: kindFile, size: -1}, {kind: kindFile, path: "\xFF"},
		{kind: kindFile, path: strings.Repeat("x", maxPath+1)}, {kind: kindData},
	} {
		_, err := e.AppendBinary(nil)
		require.ErrorIs(t, err, proto.ErrInvalid, "%+v", e)
	}
	huge, _ := (&entry{kind: kindFile, path: "a", size: 1}).AppendBinary(nil)
	huge[len(huge)-9] = 0x80 // 2^63 + 1
	require.ErrorIs(t, new(entry).DecodeFrom(proto.NewDecoder(bytes.NewReader(huge))), proto.ErrInvalid)
	for name, w := range map[string]wish{
		"a part behind the end": {verdict: verdictPart, start: 0, end: 1<<20 + 1}, "a part that ends before it begins": {verdict: verdictPart, start: 2, end: 1},
		"no claim": {verdict: verdictFrom}, "more chunks than there are": {verdict: verdictFrom, claims: make([]hash, 9)},
		"over the limit": {verdict: verdictFrom, claims: make([]hash, 101)}, "no verdict": {verdict: 9},
	} {
		b, _ := w.AppendBinary(nil)
		require.ErrorIs(t, new(wish).decode(proto.NewDecoder(bytes.NewReader(b)), 1<<20, 100), proto.ErrInvalid, name)
		require.ErrorIs(t, new(wish).decode(proto.NewDecoder(bytes.NewReader(b)), -1, 100), proto.ErrInvalid, name)
	}
	for _, b := range []string{"C\x02", "B\x01", "B\x03", "GET / HTTP/1.1\r\n\r\n"} {
		require.ErrorIs(t, decoding(new(hello).DecodeFrom(proto.NewDecoder(strings.NewReader(b+strings.Repeat("\x00", 16))))), ErrVersion)
	}
}

// A message that is accepted encodes to the bytes from which it was decoded.
func FuzzMessage(f *testing.F) {
	for i := range sampleEntries {
		b, _ := sampleEntries[i].AppendBinary(nil)
		f.Add(uint8(0), b)
	}
	for i := range sampleWishes {
		b, _ := sampleWishes[i].AppendBinary(nil)
		f.Add(uint8(1), b)
	}
	for i := range sampleMessages {
		b, _ := sampleMessages[i].AppendBinary(nil)
		f.Add(uint8(2), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		r := bytes.NewReader(b)
		d := proto.NewDecoder(r)
		var m wire
		var err error
		switch which % 3 {
		case 0:
			e := new(entry)
			m, err = e, e.DecodeFrom(d)
		case 1:
			w := new(wish)
			m, err = w, w.decode(d, 1<<20, 100)
		case 2:
			e := new(message)
			m, err = e, e.DecodeFrom(d)
		}
		if err != nil {
			return
		}
		again, err := m.AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, b[:len(b)-r.Len()], again)
	})
}

func TestBlockSize(t *testing.T) {
	for size, want := range map[int64]int64{
		0: 128 << 10, 250<<20 - 1: 128 << 10, 250 << 20: 256 << 10, 500<<20 - 1: 256 << 10, 500 << 20: 512 << 10, 1<<30 - 1: 512 << 10, 1 << 30: 1 << 20,
		2 << 30: 2 << 20, 8<<30 - 1: 4 << 20, 16<<30 - 1: 8 << 20, 16 << 30: 16 << 20, 1<<40 - 1: 16 << 20, 1 << 40: 32 << 20,
	} {
		require.Equal(t, want, blockSize(size), size)
	}
	for _, size := range []int64{1, 1 << 20, 1<<40 + 1, math.MaxInt64} {
		n := chunkCount(size, blockSize(size))
		require.LessOrEqual(t, n, int64(maxChunks))
		require.Positive(t, chunkSize(size, blockSize(size), uint32(n-1)))
	}
}
