package proto_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
	"github.com/stretchr/testify/require"
)

func TestMetadata(t *testing.T) {
	for name, test := range map[string]struct {
		wire string
		m    proto.Metadata
	}{
		"empty":       {"\x00\x00", proto.Metadata{}},
		"empty value": {"\x01\x00" + "\x01\x00k" + "\x00\x00", proto.Metadata{"k": ""}},
		"sorted": {
			"\x03\x00" + "\x01\x00B" + "\x01\x002" + "\x01\x00a" + "\x01\x001" + "\x04\x00name" + "\x04\x00Zoë",
			proto.Metadata{"name": "Zoë", "a": "1", "B": "2"},
		},
		"any printable key": {"\x01\x00" + "\x03\x00 ~!" + "\x01\x00=", proto.Metadata{" ~!": "="}},
		"longest value": {
			"\x01\x00" + "\x01\x00k" + "\xFD\x00" + strings.Repeat("v", 253),
			proto.Metadata{"k": strings.Repeat("v", 253)},
		},
		"longest key": {
			"\x01\x00" + "\x40\x00" + strings.Repeat("k", 64) + "\xBE\x00" + strings.Repeat("v", 190),
			proto.Metadata{strings.Repeat("k", 64): strings.Repeat("v", 190)},
		},
	} {
		t.Run(name, func(t *testing.T) { messagetest.Test(t, []byte(test.wire), test.m) })
	}
}

// fullMetadata has as many entries and as many bytes as allowed.
func fullMetadata() proto.Metadata {
	m := proto.Metadata{}
	for i := range proto.MaxMetadataEntries {
		// 2 + 3 + 2 + 57 bytes each: 64, except for the last entry, which
		// leaves room for the count.
		m[fmt.Sprintf("%03d", i)] = strings.Repeat("v", 57)
	}
	m["127"] = strings.Repeat("v", 55)
	return m
}

func TestMetadataFull(t *testing.T) {
	m := fullMetadata()
	wire, err := m.AppendBinary(nil)
	require.NoError(t, err)
	require.Len(t, wire, proto.MaxMetadataSize)
	messagetest.Encode(t, wire, m)
	for name, reader := range messagetest.Readers {
		var got proto.Metadata
		require.NoError(t, got.DecodeFrom(proto.NewDecoder(reader(bytes.NewReader(wire)))), name)
		require.Equal(t, m, got, name)
	}
}

// Another implementation need not sort the entries.
func TestMetadataAnyOrder(t *testing.T) {
	var m proto.Metadata
	wire := "\x02\x00" + "\x01\x00b" + "\x01\x002" + "\x01\x00a" + "\x01\x001"
	require.NoError(t, m.DecodeFrom(proto.NewDecoder(strings.NewReader(wire))))
	require.Equal(t, proto.Metadata{"a": "1", "b": "2"}, m)
}

func TestMetadataRefused(t *testing.T) {
	large := func(m proto.Metadata, key string) proto.Metadata { m[key] += "v"; return m }
	many := proto.Metadata{}
	for i := range proto.MaxMetadataEntries + 1 {
		many[fmt.Sprint(i)] = ""
	}
	for name, test := range map[string]struct {
		m      proto.Metadata
		target error
		text   string
	}{
		"empty key":     {proto.Metadata{"": "v"}, proto.ErrMetadataKey, `proto: invalid metadata key: 0 bytes, not 1 to 64: entry ""`},
		"long key":      {proto.Metadata{strings.Repeat("k", 65): ""}, proto.ErrMetadataKey, ""},
		"equals sign":   {proto.Metadata{"a=b": "v"}, proto.ErrMetadataKey, `proto: invalid metadata key: byte 0x3d: entry "a=b"`},
		"control":       {proto.Metadata{"a\n": "v"}, proto.ErrMetadataKey, `proto: invalid metadata key: byte 0x0a: entry "a\n"`},
		"delete":        {proto.Metadata{"a\x7F": "v"}, proto.ErrMetadataKey, ""},
		"key not ASCII": {proto.Metadata{"é": "v"}, proto.ErrMetadataKey, ""},
		"long value": {proto.Metadata{"k": strings.Repeat("v", 254)}, proto.ErrMetadataValue,
			`proto: invalid metadata value: 256 bytes with its key, over 255: entry "k"`},
		"long value under a long key": {proto.Metadata{strings.Repeat("k", 64): strings.Repeat("v", 191)}, proto.ErrMetadataValue, ""},
		"value not UTF-8": {proto.Metadata{"a": "ok", "k": "\xFF", "z": "\xFF"}, proto.ErrMetadataValue,
			`proto: invalid metadata value: not UTF-8: entry "k"`},
		"too many":  {many, proto.ErrInvalid, "proto: invalid list: size 129 is over the limit of 128"},
		"too large": {large(fullMetadata(), "127"), proto.ErrInvalid, "proto: invalid metadata: size 8193 is over the limit of 8192"},
	} {
		t.Run(name, func(t *testing.T) {
			messagetest.RefusedEncode(t, test.m, test.target)
			_, err := test.m.AppendBinary(nil)
			require.Equal(t, err, test.m.Validate())
			if test.text != "" {
				require.EqualError(t, err, test.text)
			}

			// Metadata that may not be sent is not accepted either.
			err = messagetest.RefusedDecode(t, rawMetadata(test.m), func() messagetest.Message { return new(proto.Metadata) }, proto.ErrInvalid)
			if e, ok := err.(*proto.MetadataError); ok {
				require.Contains(t, test.m, e.Key)
			}
		})
	}
}

// rawMetadata encodes m without validating it.
func rawMetadata(m map[string]string) []byte {
	b := proto.AppendUint16(nil, uint16(len(m)))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		b = append(proto.AppendUint16(b, uint16(len(key))), key...)
		b = append(proto.AppendUint16(b, uint16(len(m[key]))), m[key]...)
	}
	return b
}

func TestMetadataDuplicate(t *testing.T) {
	wire := []byte("\x02\x00" + "\x01\x00k" + "\x01\x00v" + "\x01\x00k" + "\x01\x00v")
	err := messagetest.RefusedDecode(t, wire, func() messagetest.Message { return new(proto.Metadata) }, proto.ErrMetadataDuplicate)
	require.EqualError(t, err, `proto: invalid metadata: the key came twice: entry "k"`)
}

// Metadata that is refused leaves the former metadata in place.
func TestMetadataRefusedKeeps(t *testing.T) {
	m := proto.Metadata{"name": "Laptop"}
	require.Error(t, m.DecodeFrom(proto.NewDecoder(strings.NewReader("\x02\x00"+"\x01\x00k"+"\x01\x00v"))))
	require.Equal(t, proto.Metadata{"name": "Laptop"}, m)
	require.NoError(t, m.DecodeFrom(proto.NewDecoder(strings.NewReader("\x01\x00"+"\x01\x00k"+"\x01\x00v"))))
	require.Equal(t, proto.Metadata{"k": "v"}, m, "no entry of the former metadata may be left")
}

func TestValidateMetadata(t *testing.T) {
	require.NoError(t, proto.ValidateMetadataKey("name"))
	require.NoError(t, proto.ValidateMetadataKey(strings.Repeat("k", 64)))
	require.NoError(t, proto.ValidateMetadataValue("name", strings.Repeat("v", 250)))
	require.NoError(t, proto.ValidateMetadataValue("name", ""))

	var e *proto.MetadataError
	require.ErrorAs(t, proto.ValidateMetadataKey("a=b"), &e)
	require.Equal(t, "a=b", e.Key)
	require.ErrorIs(t, e, proto.ErrMetadataKey)
	require.ErrorAs(t, proto.ValidateMetadataValue("name", strings.Repeat("v", 251)), &e)
	require.Equal(t, "name", e.Key)
	require.ErrorIs(t, e, proto.ErrMetadataValue)
	require.ErrorIs(t, e, proto.ErrInvalid)

	// The length of an error does not grow with the invalid key.
	require.Less(t, len(proto.ValidateMetadataKey(strings.Repeat("k", 1<<20)).Error()), 200)
}

func FuzzMetadata(f *testing.F) {
	for _, m := range []proto.Metadata{{}, {"name": "Zoë", "os": "Linux", "operating_system": "linux"}, fullMetadata()} {
		f.Add(rawMetadata(m))
	}
	f.Add([]byte("\x02\x00" + "\x01\x00b" + "\x01\x002" + "\x01\x00a" + "\x01\x001"))
	f.Add([]byte("\x02\x00" + "\x01\x00k" + "\x01\x00v" + "\x01\x00k" + "\x01\x00v"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		messagetest.Fuzz(t, wire, func(m proto.Metadata, wire []byte) bool { return bytes.Equal(wire, rawMetadata(m)) })
		var m proto.Metadata
		if m.DecodeFrom(proto.NewDecoder(bytes.NewReader(wire))) == nil {
			require.NoError(t, m.Validate())
		}
	})
}

func BenchmarkMetadata(b *testing.B) {
	m := proto.Metadata{"name": "Oscars Laptop", "operating_system": "macos", "os": "MacOS", "device_model": "MacBookPro18,1", "version": "0.1.0"}
	for i := range 16 {
		m[fmt.Sprintf("6ba7b810-9dad-11d1-80b4-00c04fd430%02x", i)] = strings.Repeat("A", 43)
	}
	wire, err := m.AppendBinary(nil)
	require.NoError(b, err)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(wire)))
		for b.Loop() {
			wire, _ = m.AppendBinary(wire[:0])
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(wire)))
		r := bytes.NewReader(nil)
		d := proto.NewDecoder(r)
		for b.Loop() {
			r.Reset(wire)
			d.Reset(r)
			var m proto.Metadata
			if err := m.DecodeFrom(d); err != nil {
				b.Fatal(err)
			}
		}
	})
}
