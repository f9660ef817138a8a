package block_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

func TestTransfer(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	for name, size := range map[string]int{
		"empty": 0, "one": 1, "chunk": 128 << 10, "chunk and one": 128<<10 + 1, "less": 128<<10 - 1, "large": 3<<20 + 77,
		"a/b/c/Grüße 日本 👩‍👩‍👧": 10, "a/b/.hidden": 3,
	} {
		put(t, filepath.Join(top, name), random(size, 1), 0o640)
	}
	require.NoError(t, os.Mkdir(filepath.Join(top, "nothing here"), 0o755))
	want := tree(t, top)
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(top, "link")))
	alone := put(t, filepath.Join(t.TempDir(), "alone.txt"), []byte("by itself"), 0o755)

	dir := t.TempDir()
	put(t, filepath.Join(dir, "alone.txt"), []byte("mine"), 0o600)
	for _, name := range []string{"top", "top (2)"} {
		a, b := pair(t)
		sent, received := move(t, a, b, block.Paths(top, alone), nil, dir, block.ReceiveOptions{Trusted: true, Modes: true, Times: true})
		for _, side := range []side{sent, received} {
			require.ErrorIs(t, side.err, block.ErrIncomplete)
			require.Len(t, side.Skipped, 1)
			require.Equal(t, 1, side.SkippedCount)
			require.Equal(t, "top/link", side.Skipped[0].Path)
			require.ErrorIs(t, side.Skipped[0], block.ErrIrregular)
		}
		require.Equal(t, want, tree(t, filepath.Join(dir, name)))
		require.Equal(t, 9, sent.Files)
		require.Equal(t, 9, received.Files)
		require.Equal(t, 5, received.Folders)
		require.Equal(t, 5, sent.Folders)
		require.Equal(t, sent.Bytes, received.Bytes)
		require.Equal(t, sent.Sent, received.Sent)
		require.NoFileExists(t, filepath.Join(dir, name, "link"))
	}
	require.NoDirExists(t, filepath.Join(dir, ".sdp2p-partial"))
	for name, content := range map[string]string{"alone.txt": "mine", "alone (2).txt": "by itself", "alone (3).txt": "by itself"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, content, string(got))
	}
	info, err := os.Stat(filepath.Join(dir, "alone (2).txt"))
	require.NoError(t, err)
	there, err := os.Stat(alone)
	require.NoError(t, err)
	require.Equal(t, there.Mode(), info.Mode())
	require.True(t, there.ModTime().Equal(info.ModTime()))
}

// Permissions are restored if that is asked for, and a file from a stranger
// never becomes executable.
func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such permissions")
	}
	tool := put(t, filepath.Join(t.TempDir(), "tool"), []byte("#!/bin/sh\n"), 0o750)
	for _, test := range []struct {
		opts block.ReceiveOptions
		mode os.FileMode
	}{
		{block.ReceiveOptions{Modes: true}, 0o640},
		{block.ReceiveOptions{Modes: true, Trusted: true}, 0o750},
	} {
		a, b := pair(t)
		dir := t.TempDir()
		_, received := move(t, a, b, block.Paths(tool), nil, dir, test.opts)
		require.NoError(t, received.err)
		info, err := os.Stat(filepath.Join(dir, "tool"))
		require.NoError(t, err)
		require.Equal(t, test.mode, info.Mode())
	}
	for _, opts := range []block.ReceiveOptions{{}, {Trusted: true}} {
		a, b := pair(t)
		dir := t.TempDir()
		_, received := move(t, a, b, block.Paths(tool), nil, dir, opts)
		require.NoError(t, received.err)
		info, err := os.Stat(filepath.Join(dir, "tool"))
		require.NoError(t, err)
		require.Zero(t, info.Mode()&0o111)
	}
}

// Either side cancels; the other one learns which side it was, and why.
func TestCancel(t *testing.T) {
	for _, who := range []string{"sender", "receiver"} {
		a, b := pair(t)
		why := errors.New("the train leaves")
		ctx, cancel := context.WithCancelCause(t.Context())
		dir := t.TempDir()
		contexts := map[string]context.Context{"sender": t.Context(), "receiver": t.Context(), who: ctx}
		var sendErr error
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, sendErr = block.Send(contexts["sender"], a, []block.Source{{Name: "z", Reader: zeros{}, Size: 512 << 20}}, block.SendOptions{})
			a.Close()
		}()
		_, receiveErr := block.Receive(contexts["receiver"], b, nil, open(t, dir), block.ReceiveOptions{From: "a", Progress: func(p block.Progress) {
			if p.Verified > 1<<20 {
				cancel(why)
			}
		}})
		b.Close()
		<-done
		here, there := sendErr, receiveErr
		if who == "receiver" {
			here, there = there, here
		}
		require.ErrorIs(t, here, block.ErrCanceled)
		require.ErrorIs(t, here, why)
		require.ErrorIs(t, there, block.ErrCanceled)
		var peer *block.PeerError
		require.ErrorAs(t, there, &peer)
		require.Equal(t, why.Error(), peer.Reason)
		require.NotErrorAs(t, here, &peer)
		require.NoFileExists(t, filepath.Join(dir, "z"))
	}
}

// Two transfers of the same file at the same time each get a name of their own.
func TestTwoAtOnce(t *testing.T) {
	content := random(3<<20, 1)
	dir := t.TempDir()
	var both sync.WaitGroup
	for range 2 {
		a, b := pair(t)
		root := open(t, dir)
		both.Go(func() {
			_, err := block.Send(t.Context(), a, []block.Source{source("f.bin", content)}, block.SendOptions{})
			if err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			_, err := block.Receive(t.Context(), b, nil, root, block.ReceiveOptions{From: "a"})
			if err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()

	// A transfer that waits for its user is not disturbed when another one
	// ends.
	a, b := pair(t)
	_, received := move(t, a, b, []block.Source{source("g", nil)}, func(context.Context, *block.Offer) error {
		a, b := pair(t)
		_, received := move(t, a, b, []block.Source{source("h", nil)}, nil, dir, block.ReceiveOptions{})
		return received.err
	}, dir, block.ReceiveOptions{})
	require.NoError(t, received.err)
	require.NoError(t, os.Remove(filepath.Join(dir, "g")))
	require.NoError(t, os.Remove(filepath.Join(dir, "h")))
	require.Equal(t, map[string]string{".": "d---------", "f.bin": string(content), "f (2).bin": string(content)}, tree(t, dir))
}
