package block_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

func TestDecide(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	for _, name := range []string{"a", "b", "skip/c", "skip/in/d", "part"} {
		put(t, filepath.Join(top, name), []byte("content of "+name), 0o600)
	}
	a, b := pair(t)
	sent, received := move(t, a, b, block.Paths(top), func(context.Context, *block.Offer) error { return block.Refuse("not today") }, t.TempDir(), block.ReceiveOptions{})
	require.ErrorIs(t, received.err, block.ErrRefused)
	require.ErrorIs(t, sent.err, block.ErrRefused)
	require.ErrorContains(t, sent.err, "not today")

	a, b = pair(t)
	part := make(writerAt, 7)
	dir := t.TempDir()
	sent, received = move(t, a, b, block.Paths(top), func(_ context.Context, o *block.Offer) error {
		require.Equal(t, []int{5, 3}, []int{o.Files, o.Folders})
		for f := range o.All() {
			switch f.Path {
			case "top/skip", "top/b":
				o.Skip(f.Index)
			case "top/part":
				o.Part(f.Index, 3, 10, part)
			}
		}
		return nil
	}, dir, block.ReceiveOptions{})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, map[string]string{".": "d---------", "top": "d---------", "top/a": "content of a"}, tree(t, dir))
	require.Equal(t, "tent of", string(part))
	require.Equal(t, 2, sent.Files)
	require.EqualValues(t, 19, sent.Bytes)
	require.Equal(t, 2, received.Files)
	require.Len(t, received.Skipped, 5)
	require.Len(t, sent.Skipped, 5)

	// Parts need no destination folder.
	a, b = pair(t)
	big := marked(1<<20, 5)
	part = make(writerAt, 700_000)
	done := make(chan error, 1)
	go func() {
		_, err := block.Send(t.Context(), &mangler{Conn: a, change: spoil(2)}, []block.Source{source("f", big)}, block.SendOptions{})
		done <- err
	}()
	_, err := block.Receive(t.Context(), b, func(_ context.Context, o *block.Offer) error {
		o.Part(0, 100_001, 800_001, part)
		return nil
	}, nil, block.ReceiveOptions{})
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.True(t, bytes.Equal(big[100_001:800_001], part))
}
