package main

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
)

// A device that receives, on a network in memory, and one that sends to it.
type device struct {
	network *p2ptest.Network
	dir     string
	sender  identity.Identity
	end     context.CancelFunc
}

// newDevice starts the receiver, whose user answers what there is to read in in; if that is nil, it does not ask.
func newDevice(t *testing.T, in io.Reader) *device {
	ctx, cancel := context.WithCancel(t.Context())
	d := &device{p2ptest.NewNetwork(p2ptest.Config{}), t.TempDir(), identity.New(), cancel}
	ended := make(chan error, 1)
	go func() {
		ended <- receive(ctx, p2p.Config{App: "drop", Name: "Bob", Hooks: d.network.Hooks()}, d.dir, in)
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return d
}

func (d *device) get(ctx context.Context, paths ...string) error {
	return send(ctx, p2p.Config{App: "drop", Name: "Alice", Identity: d.sender, Hooks: d.network.Hooks()}, "Bob", paths)
}

func put(t *testing.T, path, content string, mode fs.FileMode) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

func TestTransfer(t *testing.T) {
	source := filepath.Join(t.TempDir(), "top")
	put(t, filepath.Join(source, "large"), strings.Repeat("0123456789", 200_000), 0o644)
	put(t, filepath.Join(source, "empty"), "", 0o600)
	put(t, filepath.Join(source, "bin/tool"), "#!/bin/sh\n", 0o755)
	put(t, filepath.Join(source, "a/b/c/Grüße 日本 👩‍👩‍👧"), "deep", 0o640)
	require.NoError(t, os.Mkdir(filepath.Join(source, "nothing here"), 0o755))
	old := time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC)
	require.NoError(t, os.Chtimes(filepath.Join(source, "bin/tool"), old, old))
	want, err := snapshot(source)
	require.NoError(t, err)
	alone := put(t, filepath.Join(t.TempDir(), "alone.txt"), "a file by itself", 0o644)

	d := newDevice(t, nil)
	put(t, filepath.Join(d.dir, "alone.txt"), "mine", 0o600)
	require.NoError(t, d.get(t.Context(), source, alone))
	got, err := snapshot(filepath.Join(d.dir, "top"))
	require.NoError(t, err)
	require.Equal(t, want, got)
	info, err := os.Stat(filepath.Join(d.dir, "top/bin/tool"))
	require.NoError(t, err)
	require.True(t, old.Equal(info.ModTime()))
	require.Zero(t, info.Mode()&0o111, "it came from a stranger")
	mine, _ := os.ReadFile(filepath.Join(d.dir, "alone.txt"))
	theirs, _ := os.ReadFile(filepath.Join(d.dir, "alone (2).txt"))
	require.Equal(t, "mine a file by itself", string(mine)+" "+string(theirs))

	require.ErrorIs(t, d.get(t.Context(), filepath.Join(source, "missing")), fs.ErrNotExist)
}

// The user of the receiver is asked, and has the say; no answer is a no.
func TestAsk(t *testing.T) {
	file := put(t, filepath.Join(t.TempDir(), "file"), "content", 0o600)
	for answers, wanted := range map[string]bool{"y\n": true, " Yes \n": true, "n\n": false, "\n": false, "": false, "yo\n": false} {
		d := newDevice(t, strings.NewReader(answers))
		err := d.get(t.Context(), file)
		if wanted {
			require.NoError(t, err, "%q", answers)
			require.FileExists(t, filepath.Join(d.dir, "file"))
			continue
		}
		require.ErrorContains(t, err, "does not want it", "%q", answers)
		require.NoFileExists(t, filepath.Join(d.dir, "file"))
	}
}

// Cancelling on either side ends both. Nothing has its name, and the next attempt goes on.
func TestCancel(t *testing.T) {
	large := put(t, filepath.Join(t.TempDir(), "large"), strings.Repeat("x", 96<<20), 0o600)
	for _, who := range []string{"sender", "receiver"} {
		d := newDevice(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan error, 1)
		go func() { sent <- d.get(ctx, large) }()
		require.Eventually(t, func() bool { return partial(d.dir) > 1<<20 }, 20*time.Second, time.Millisecond)
		if who == "sender" {
			cancel()
			require.EqualError(t, <-sent, "cancelled")
		} else {
			d.end()
			require.Regexp(t, `^cancelled by "Bob" \(.*\)$`, (<-sent).Error())
		}
		cancel()
		require.NoFileExists(t, filepath.Join(d.dir, "large"))
	}
}

// partial returns how many bytes of files that are not whole there are.
func partial(dir string) (size int64) {
	found, _ := filepath.Glob(filepath.Join(dir, ".sdp2p-partial", "*"))
	for _, path := range found {
		if info, err := os.Stat(path); err == nil {
			size = max(size, info.Size())
		}
	}
	return size
}

func TestSummary(t *testing.T) {
	r := block.Result{Files: 812, Bytes: 9_400_000, Sent: 4_000_000}
	require.Regexp(t, `^812 files, 9.4 MB in 2.0\d s \((1.9|2.0) MB/s\)$`, summary(r, time.Now().Add(-2*time.Second)))
	r.Resumed = 5_400_000
	require.Contains(t, summary(r, time.Now().Add(-2*time.Second)), "; 5.4 MB were there already")
}
