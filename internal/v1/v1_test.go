package v1_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/proto"
	"github.com/stretchr/testify/require"
)

// vectors is the content of ../../testdata/sdp2p1.json: the bytes of both modes
// of a /sdp2p/1 stream.
type vectors struct {
	InitiatorSeed      hexBytes    `json:"initiator_seed"`
	InitiatorMetadata  v1.Metadata `json:"initiator_metadata"`
	ResponderSeed      hexBytes    `json:"responder_seed"`
	ResponderMetadata  v1.Metadata `json:"responder_metadata"`
	Mode0Initiator     hexBytes    `json:"mode0_initiator_sends"`
	Mode0Responder     hexBytes    `json:"mode0_responder_sends"`
	Mode1InitiatorMode hexBytes    `json:"mode1_initiator_sends_first"`
	Mode1ResponderKey  hexBytes    `json:"mode1_responder_sends_identity"`
	Mode1Initiator     hexBytes    `json:"mode1_initiator_then_sends"`
	Mode1Responder     hexBytes    `json:"mode1_responder_then_sends"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func readVectors(t testing.TB) (v vectors) {
	b, err := os.ReadFile("../../testdata/sdp2p1.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &v))
	return v
}

func publicKey(seed []byte) v1.Identity {
	return v1.Identity(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
}

func TestVectors(t *testing.T) {
	v := readVectors(t)
	hello := v1.Hello{Identity: publicKey(v.InitiatorSeed), Metadata: v.InitiatorMetadata}
	t.Run("mode 0, mode", func(t *testing.T) { messagetest.Test(t, v.Mode0Initiator[:1], v1.Stream) })
	t.Run("mode 0, initiator", func(t *testing.T) { messagetest.Test(t, v.Mode0Initiator[1:], hello) })
	t.Run("mode 0, responder", func(t *testing.T) { messagetest.Test(t, v.Mode0Responder, v.ResponderMetadata) })
	t.Run("mode 1, mode", func(t *testing.T) { messagetest.Test(t, v.Mode1InitiatorMode, v1.Identify) })
	t.Run("mode 1, identity", func(t *testing.T) { messagetest.Test(t, v.Mode1ResponderKey, publicKey(v.ResponderSeed)) })
	t.Run("mode 1, initiator", func(t *testing.T) { messagetest.Test(t, v.Mode1Initiator, hello) })
	t.Run("mode 1, responder", func(t *testing.T) { messagetest.Test(t, v.Mode1Responder, v.ResponderMetadata) })
}

// Mode and hello are two messages, one after the other on a stream, and the
// app's first byte follows.
func TestStream(t *testing.T) {
	v := readVectors(t)
	for name, reader := range messagetest.Readers {
		r := reader(bytes.NewReader(append(v.Mode0Initiator, 'x')))
		d := proto.NewDecoder(r)
		var mode v1.Mode
		require.NoError(t, mode.DecodeFrom(d), name)
		require.Equal(t, v1.Stream, mode, name)
		var hello v1.Hello
		require.NoError(t, hello.DecodeFrom(d), name)
		require.Equal(t, v.InitiatorMetadata, hello.Metadata, name)
		var app [1]byte
		n, err := r.Read(app[:])
		require.Equal(t, 1, n, name)
		require.True(t, err == nil || name == "error with data", name)
		require.EqualValues(t, 'x', app[0], name)
	}
}

func TestModeRefused(t *testing.T) {
	messagetest.RefusedEncode(t, v1.Mode(2), proto.ErrInvalid)
	mode := v1.Identify
	err := messagetest.RefusedDecode(t, []byte{2}, func() messagetest.Message { return &mode }, proto.ErrInvalid)
	require.EqualError(t, err, "proto: invalid version 1 mode: unknown discriminator 2")
	require.Equal(t, v1.Identify, mode)
}

// wireOf puts the length before the MessagePack.
func wireOf(msgpack string) []byte {
	return append(proto.AppendUint64(nil, uint64(len(msgpack))), msgpack...)
}

// TestMetadataForms checks each length at which MessagePack takes another form.
func TestMetadataForms(t *testing.T) {
	text := func(n int) string { return strings.Repeat("x", n) }
	for name, test := range map[string]struct {
		msgpack string
		m       v1.Metadata
	}{
		"no entry":      {"\x80", v1.Metadata{}},
		"empty strings": {"\x81\xA0\xA0", v1.Metadata{"": ""}},
		"fixstr":        {"\x81\xBF" + text(31) + "\xA0", v1.Metadata{text(31): ""}},
		"str8":          {"\x81\xA1k\xD9\x20" + text(32), v1.Metadata{"k": text(32)}},
		"str8, longest": {"\x81\xA1k\xD9\xFF" + text(255), v1.Metadata{"k": text(255)}},
		"str16":         {"\x81\xA1k\xDA\x01\x00" + text(256), v1.Metadata{"k": text(256)}},
		"UTF-8":         {"\x81\xA2\xC3\xA9\xA3\xE2\x82\xAC", v1.Metadata{"é": "€"}},
		"against our rules": {"\x82\xA0\xA1v\xA3a=b\xA1\n",
			v1.Metadata{"": "v", "a=b": "\n"}},
	} {
		t.Run(name, func(t *testing.T) { messagetest.Test(t, wireOf(test.msgpack), test.m) })
	}
	for _, n := range []int{15, 16, 17, 128} {
		t.Run(fmt.Sprint(n, " entries"), func(t *testing.T) {
			head := string([]byte{0x80 | byte(n)})
			if n > 15 {
				head = "\xDE\x00" + string([]byte{byte(n)})
			}
			m := v1.Metadata{}
			for i := range n {
				key := fmt.Sprintf("%03d", i)
				head += "\xA3" + key + "\xA1v"
				m[key] = "v"
			}
			messagetest.Test(t, wireOf(head), m)
		})
	}

	largest := v1.Metadata{"k": text(8186)}
	wire := wireOf("\x81\xA1k\xDA\x1F\xFA" + text(8186))
	messagetest.Encode(t, wire, largest)
	for name, reader := range messagetest.Readers {
		var m v1.Metadata
		require.NoError(t, m.DecodeFrom(proto.NewDecoder(reader(bytes.NewReader(wire)))), name)
		require.Equal(t, largest, m, name)
	}
}

// TestMetadataAccepted checks forms that MessagePack allows and rmp does not
// write.
func TestMetadataAccepted(t *testing.T) {
	want := v1.Metadata{"a": "1", "b": "2"}
	for _, msgpack := range []string{
		"\x82\xA1b\xA12\xA1a\xA11",
		"\xDE\x00\x02\xA1a\xA11\xA1b\xA12",
		"\xDF\x00\x00\x00\x02\xA1a\xA11\xA1b\xA12",
		"\x82\xD9\x01a\xDA\x00\x011\xDB\x00\x00\x00\x01b\xA12",
	} {
		for name, reader := range messagetest.Readers {
			var m v1.Metadata
			require.NoError(t, m.DecodeFrom(proto.NewDecoder(reader(bytes.NewReader(wireOf(msgpack))))), name)
			require.Equal(t, want, m, name)
		}
	}
}

func TestMetadataRefused(t *testing.T) {
	fresh := func() messagetest.Message { return new(v1.Metadata) }
	for msgpack, text := range map[string]string{
		"":                          "proto: invalid version 1 metadata: 1 bytes wanted, 0 left",
		"\xC0":                      "proto: invalid version 1 metadata: byte 0xc0 begins no map",
		"\x90":                      "proto: invalid version 1 metadata: byte 0x90 begins no map",
		"\x00":                      "proto: invalid version 1 metadata: byte 0x00 begins no map",
		"\x81\xC0\xA1v":             "proto: invalid version 1 metadata: byte 0xc0 begins no string",
		"\x81\xA1k\x01":             "proto: invalid version 1 metadata: byte 0x01 begins no string",
		"\x81\xA1k\xC4\x01v":        "proto: invalid version 1 metadata: byte 0xc4 begins no string",
		"\x81\xA1k\x80":             "proto: invalid version 1 metadata: byte 0x80 begins no string",
		"\x82\xA1k\xA1":             "proto: invalid version 1 metadata: 2 entries announced, 3 bytes left",
		"\x81\xA1k":                 "proto: invalid version 1 metadata: 1 bytes wanted, 0 left",
		"\x81\xA1k\xA2v":            "proto: invalid version 1 metadata: 2 bytes wanted, 1 left",
		"\xDE\x00":                  "proto: invalid version 1 metadata: 2 bytes wanted, 1 left",
		"\xDE\xFF\xFF\xA0\xA0":      "proto: invalid version 1 metadata: 65535 entries announced, 2 bytes left",
		"\xDF\xFF\xFF\xFF\xFF\xA0":  "proto: invalid version 1 metadata: 4294967295 entries announced, 1 bytes left",
		"\x81\xA1k\xDB\xFF\xFF\xFF": "proto: invalid version 1 metadata: 4 bytes wanted, 3 left",
		"\x81\xDB\xFF\xFF\xFF\xFFk": "proto: invalid version 1 metadata: 4294967295 bytes wanted, 1 left",
		"\x81\xA1k\xA1v\x00":        "proto: invalid version 1 metadata: 1 bytes behind the map",
		"\x80\x80":                  "proto: invalid version 1 metadata: 1 bytes behind the map",
		"\x82\xA1k\xA1v\xA1k\xA1w":  `proto: invalid metadata: the key came twice: entry "k"`,
		"\x81\xA1\xFF\xA1v":         `proto: invalid UTF-8: entry "\xff"`,
		"\x81\xA1k\xA1\xFF":         `proto: invalid UTF-8: entry "k"`,
	} {
		err := messagetest.RefusedDecode(t, wireOf(msgpack), fresh, proto.ErrInvalid)
		require.EqualError(t, err, text)
	}
	for size, text := range map[uint64]string{
		8193:    "proto: invalid metadata: size 8193 is over the limit of 8192",
		1 << 63: "proto: invalid metadata: size 9223372036854775808 is over the limit of 8192",
	} {
		err := messagetest.RefusedDecode(t, proto.AppendUint64(nil, size), fresh, proto.ErrInvalid)
		require.EqualError(t, err, text)
	}

	messagetest.RefusedEncode(t, v1.Metadata{"k": "\xFF"}, proto.ErrUTF8)
	messagetest.RefusedEncode(t, v1.Metadata{"\xFF": "v"}, proto.ErrUTF8)
	messagetest.RefusedEncode(t, v1.Metadata{"k": strings.Repeat("x", 8187)}, proto.ErrInvalid)
	messagetest.RefusedEncode(t, v1.Metadata{"k": strings.Repeat("x", 70_000)}, proto.ErrInvalid)
	many := v1.Metadata{}
	for i := range 70_000 {
		many[fmt.Sprint(i)] = ""
	}
	messagetest.RefusedEncode(t, many, proto.ErrInvalid)
	messagetest.RefusedEncode(t, &v1.Hello{Metadata: v1.Metadata{"k": "\xFF"}}, proto.ErrUTF8)

	// Values that were there before stay.
	m := v1.Metadata{"name": "Laptop"}
	require.Error(t, m.DecodeFrom(proto.NewDecoder(bytes.NewReader(wireOf("\x81\xA1k\xA1v\x00")))))
	require.Equal(t, v1.Metadata{"name": "Laptop"}, m)
}

func TestMetadataFit(t *testing.T) {
	node := v1.Metadata{
		"name": "Laptop", "os": "Linux", "operating_system": "linux", "device_model": "Framework 13", "version": "0.1.0",
	}
	m := v1.Metadata{}
	for key, value := range node {
		m[key] = value
	}
	library := func(i int) string { return fmt.Sprintf("6ba7b810-9dad-11d1-80b4-00c04fd430%02x", i) }
	for i := range 64 {
		m[library(i)] = strings.Repeat("A", 43)
	}
	before := len(m)

	size := func(m v1.Metadata) int {
		b, err := m.AppendBinary(nil)
		require.NoError(t, err)
		return len(b) - 8
	}
	fit := m.Fit(v1.MaxPeerMetadata)
	require.Len(t, m, before, "Fit changed its receiver")
	require.LessOrEqual(t, size(fit), 1000)
	require.Greater(t, size(fit), 1000-2*(1+1+36+2+43))
	for key, value := range node {
		require.Equal(t, value, fit[key])
	}
	for i := range len(fit) - len(node) {
		require.Contains(t, fit, library(i), "libraries are taken in order")
	}

	// Whatever the limit, the size stays within it, and a limit that is a byte
	// higher never yields less.
	last := 0
	for limit := 1; limit <= size(m)+1; limit++ {
		got := size(m.Fit(limit))
		require.LessOrEqual(t, got, limit)
		require.GreaterOrEqual(t, got, last)
		last = got
	}
	require.Equal(t, m, m.Fit(size(m)))
	require.Equal(t, v1.Metadata{}, m.Fit(0))
	require.Equal(t, v1.Metadata{}, v1.Metadata(nil).Fit(1000))

	// A name that leaves no room is dropped, and the entries that fit are
	// taken.
	m["name"] = strings.Repeat("x", 2000)
	fit = m.Fit(v1.MaxPeerMetadata)
	require.NotContains(t, fit, "name")
	require.Equal(t, "Linux", fit["os"])
}

// A false length costs hardly any memory.
func TestMetadataLyingLength(t *testing.T) {
	const most = 32 << 10 // the map, the readers' own buffers, and a margin
	for _, wire := range []string{
		"\x00\x20\x00\x00\x00\x00\x00\x00", "\xFF\xFF\xFF\x7F\x00\x00\x00\x00",
	} {
		for name, wrap := range messagetest.Readers {
			if name == "buffered, large" {
				continue
			}
			got := messagetest.Allocated(func() {
				var m v1.Metadata
				_ = m.DecodeFrom(proto.NewDecoder(wrap(strings.NewReader(wire + "abc"))))
			})
			require.LessOrEqual(t, got, uint64(most), "%q, %s", wire, name)
		}
	}
}

// canonical reports whether wire is m in the order and the forms that we send.
func canonical(m v1.Metadata, wire []byte) bool {
	msgpack := string([]byte{0xDE, byte(len(m) >> 8), byte(len(m))})
	if len(m) < 16 {
		msgpack = string([]byte{0x80 + byte(len(m))})
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		for _, s := range []string{key, m[key]} {
			switch n := len(s); {
			case n < 32:
				msgpack += string([]byte{0xA0 + byte(n)}) + s
			case n < 256:
				msgpack += string([]byte{0xD9, byte(n)}) + s
			default:
				msgpack += string([]byte{0xDA, byte(n >> 8), byte(n)}) + s
			}
		}
	}
	return bytes.Equal(wire, wireOf(msgpack))
}

func FuzzHello(f *testing.F) {
	v := readVectors(f)
	f.Add([]byte(v.Mode1Initiator))
	f.Fuzz(func(t *testing.T, wire []byte) {
		messagetest.Fuzz(t, wire, func(m v1.Hello, wire []byte) bool { return canonical(m.Metadata, wire[32:]) })
	})
}

func FuzzMetadata(f *testing.F) {
	v := readVectors(f)
	f.Add([]byte(v.Mode0Responder))
	f.Add(wireOf("\xDE\x00\x02\xA1b\xA11\xA1a\xA12"))
	f.Add(wireOf("\xDF\x00\x00\x00\x01\xD9\x01a\xDA\x00\x011"))
	f.Add(wireOf("\x81\xDB\x00\x00\x00\x01b\xA12"))
	f.Add(wireOf("\x82\xA1k\xA1v\xA1k\xA1w"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		messagetest.Fuzz(t, wire, canonical)
	})
}

func FuzzMode(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, wire []byte) {
		messagetest.Fuzz(t, wire, func(v1.Mode, []byte) bool { return true })
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, wire []byte) {
		messagetest.Fuzz(t, wire, func(v1.Identity, []byte) bool { return true })
	})
}
