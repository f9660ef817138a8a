package block

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The sender's messages in the example of docs/protocol.md.
const example = `
42 02 07000000000000000000000000000000
02 0100 62 A401 0100000000000000 02000000 07000000000000000000000000000000 0500000000000000 0500000000000000
03 01000000 00000000 00000000 0500000000000000 0500000000000000
05 0000 00000000
06 05000000 68656C6C6F
07 EA8F163DB38682925E4491C5E58D4BB3506EF8C14EB78A86E908C5624A67200F
08 FE313A0DB66D461BB4488DB113A67B987EAB49C857F36B0B36C303FAE3D9E5DA
0B
0D`

func TestExample(t *testing.T) {
	want, err := hex.DecodeString(strings.Join(strings.Fields(example), ""))
	require.NoError(t, err)
	id := [16]byte{7}
	e := entry{kind: kindFile, path: "b", mode: 0o644, seconds: 1, nanos: 2, id: id, size: 5, stored: 5}
	require.Equal(t, want, say(hello{id}, e, kindOffered, begin(0), data("hello"), chunkHash("hello"), end("hello"), kindSent, kindDone))
	_, names, err := hear(t, want, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, names)
}
