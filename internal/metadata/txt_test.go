package metadata_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/metadata"
)

// The first value of a key counts, and a string that breaks a rule hides no
// other.
func TestParseTXT(t *testing.T) {
	uuid := "d66e0000-0000-0000-0000-0000000000%02x=" + identity.New().Remote().String()
	var txt []string
	for i := range p2p.MaxLibraries + 1 {
		txt = append(txt, fmt.Sprintf(uuid, i))
	}
	txt = append(txt, "name=Zoë \\ \"=\"", "name=second", "boolean", "=empty key", "bad key\x01=v", "bytes=\xff", "os=MacOS", "sdp2p=x", "SDP2P=2", "sdp2p=3")
	kept, says := metadata.ParseTXT(txt)
	require.Equal(t, 2, says)
	require.Equal(t, "Zoë \\ \"=\"", kept["name"])
	require.Equal(t, "macos", p2p.ParseNodeMetadata(kept).OperatingSystem)
	require.Len(t, kept, p2p.MaxLibraries+2)
	require.NoError(t, p2p.ValidateMetadata(kept))

	slices.Reverse(txt[:p2p.MaxLibraries+1]) // the first implementation's order varies
	again, _ := metadata.ParseTXT(txt)
	require.Equal(t, kept, again)

	txt = nil // 129 entries, and the node's name last
	for i := range 128 {
		txt = append(txt, fmt.Sprintf("%03d=v", i))
	}
	kept, _ = metadata.ParseTXT(append(txt, "name=n"))
	require.Len(t, kept, 128)
	require.Equal(t, "n", kept["name"])
	require.NotContains(t, kept, "127")

	kept, says = metadata.ParseTXT(nil) // version 1's, with nothing
	require.Empty(t, kept)
	require.NotNil(t, kept)
	require.Zero(t, says)
}

func FuzzParseTXT(f *testing.F) {
	f.Add("name=x", "sdp2p=2", "a")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		kept, says := metadata.ParseTXT([]string{a, b, c})
		require.NoError(t, p2p.ValidateMetadata(kept))
		require.GreaterOrEqual(t, says, 0)
	})
}
