package block_test

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// A corrupted chunk is sent again, alone, and at most three times.
func TestCorrupted(t *testing.T) {
	content := marked(1<<20+5, 3)
	for times := range 5 {
		a, b := pair(t)
		dir := t.TempDir()
		sources := []block.Source{source("bad", content), source("good", []byte("good"))}
		sent, received := move(t, &mangler{Conn: a, change: spoil(times)}, b, sources, nil, dir, block.ReceiveOptions{From: "a"})
		if times == 4 {
			require.ErrorIs(t, received.err, block.ErrCorrupt)
			require.ErrorIs(t, sent.err, block.ErrCorrupt)
			var peer *block.PeerError
			require.ErrorAs(t, sent.err, &peer)
			require.NoFileExists(t, filepath.Join(dir, "bad"))
			require.Equal(t, 1, received.Files)
			require.Equal(t, 1, sent.Files)
			// The good chunks are not sent again.
			a, b = pair(t)
			sent, received = move(t, a, b, sources, nil, dir, block.ReceiveOptions{From: "a"})
			require.EqualValues(t, 3*128<<10+4, sent.Resumed)
		}
		require.NoError(t, sent.err)
		require.NoError(t, received.err)
		got := tree(t, dir)
		require.True(t, string(content) == got["bad"])
		delete(got, "bad")
		require.Equal(t, map[string]string{".": "d---------", "good": "good"}, got)
		if times < 4 {
			require.Equal(t, min(times, 1), received.Repaired)
			require.EqualValues(t, len(content)+4+times*128<<10, sent.Sent)
			require.Equal(t, sent.Sent, received.Sent)
		}
	}
}

// A chunk that is sent again in the middle of its file does not affect the rest
// of the file.
func TestRepairedInBetween(t *testing.T) {
	content := marked(16<<20, 1)
	a, b := net.Pipe()
	dir := t.TempDir()
	sent, received := move(t, &mangler{Conn: a, change: spoil(2)}, b, []block.Source{source("f", content)}, nil, dir, block.ReceiveOptions{})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, 1, received.Repaired)
	require.Equal(t, 2, sent.Repaired)
	got, err := os.ReadFile(filepath.Join(dir, "f"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
}
