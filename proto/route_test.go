package proto_test

import (
	"strings"
	"testing"

	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
	"github.com/stretchr/testify/require"
)

func TestRoute(t *testing.T) {
	for _, name := range []string{"e", "echo", "library/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "größer als \u65e5\u672c\u8a9e", strings.Repeat("r", 255)} {
		messagetest.Test(t, append([]byte{byte(len(name))}, name...), proto.Route(name))
	}
}

func TestRouteRefused(t *testing.T) {
	for name, text := range map[string]string{
		"":                       "proto: invalid route: 0 bytes, not 1 to 255",
		strings.Repeat("r", 256): "proto: invalid route: 256 bytes, not 1 to 255",
		"a\xC3":                  "proto: invalid route: not UTF-8",
		"a\x00":                  "proto: invalid route: U+0000 is not printable",
		"a\nb":                   "proto: invalid route: U+000A is not printable",
		"\x7F":                   "proto: invalid route: U+007F is not printable",
		"a\u0085":                "proto: invalid route: U+0085 is not printable",
		"a\u00a0b":               "proto: invalid route: U+00A0 is not printable",
		"a\u200bb":               "proto: invalid route: U+200B is not printable",
		"a\u202eb":               "proto: invalid route: U+202E is not printable",
		"a\u2028b":               "proto: invalid route: U+2028 is not printable",
	} {
		messagetest.RefusedEncode(t, proto.Route(name), proto.ErrRoute)
		require.EqualError(t, proto.Route(name).Validate(), text)
		if len(name) <= 255 {
			wire := append([]byte{byte(len(name))}, name...)
			err := messagetest.RefusedDecode(t, wire, func() messagetest.Message { return new(proto.Route) }, proto.ErrRoute)
			require.EqualError(t, err, text)
		}
	}
}

// A route that is refused leaves the former route in place.
func TestRouteRefusedKeeps(t *testing.T) {
	r := proto.Route("echo")
	require.Error(t, r.DecodeFrom(proto.NewDecoder(strings.NewReader("\x01\n"))))
	require.Error(t, r.DecodeFrom(proto.NewDecoder(strings.NewReader("\x02a"))))
	require.Equal(t, proto.Route("echo"), r)
}

func FuzzRoute(f *testing.F) {
	f.Add([]byte("\x04echo"))
	f.Add([]byte("\x00"))
	f.Add([]byte("\x02\xC3\xB6"))
	f.Add([]byte("\x02a\n"))
	f.Add([]byte("\xFF" + strings.Repeat("r", 255)))
	f.Fuzz(func(t *testing.T, wire []byte) {
		messagetest.Fuzz(t, wire, func(proto.Route, []byte) bool { return true })
	})
}
