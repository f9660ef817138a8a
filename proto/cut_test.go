package proto_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

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
