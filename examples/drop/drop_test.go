package main

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/proto"
	"github.com/stretchr/testify/require"
	"github.com/zeebo/blake3"
)

func TestSafe(t *testing.T) {
	for _, path := range []string{"a", "a/b.txt", "Grüße 日本.txt", "...", "a b", ".hidden", "console", "c/d", strings.Repeat("a", 255)} {
		require.True(t, safe(path), path)
	}
	for _, path := range []string{
		"", ".", "..", "../evil", "/etc/evil", "a/../../evil", "a//b", `..\evil`, `C:\evil`, "C:evil", "evil\x00.txt", "evil\n", "evil/", "con", "a/NUL",
		"com1.txt", "evil\u202Etxt.exe", "\xff", strings.Repeat("a", 256), strings.Repeat("a/", 2048) + "a",
	} {
		require.False(t, safe(path), "%q", path)
	}
}

func TestOffer(t *testing.T) {
	want := offer{files: 3, bytes: 1 << 40}
	b, err := want.AppendBinary([]byte("prefix"))
	require.NoError(t, err)
	b, ok := bytes.CutPrefix(b, []byte("prefix"))
	require.True(t, ok)
	var got offer
	require.NoError(t, got.DecodeFrom(proto.NewDecoder(iotest.OneByteReader(bytes.NewReader(b)))))
	require.Equal(t, want, got)
	for n := range b {
		require.Error(t, got.DecodeFrom(proto.NewDecoder(bytes.NewReader(b[:n]))), n)
	}
	b[len(b)-1] = 0x80 // a negative number
	require.ErrorIs(t, got.DecodeFrom(proto.NewDecoder(bytes.NewReader(b))), proto.ErrInvalid)
}

// A device that receives, on a network in memory.
type device struct {
	network *p2ptest.Network
	dir     string
	end     context.CancelFunc
	ended   chan error
}

func newDevice(t *testing.T) *device {
	ctx, cancel := context.WithCancel(t.Context())
	d := &device{p2ptest.NewNetwork(p2ptest.Config{}), t.TempDir(), cancel, make(chan error, 1)}
	go func() { d.ended <- receive(ctx, p2p.Config{App: "drop", Name: "Bob", Hooks: d.network.Hooks()}, d.dir) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-d.ended)
		found, err := filepath.Glob(filepath.Join(d.dir, ".drop-*"))
		require.NoError(t, err)
		require.Empty(t, found, "temporary files are left")
	})
	return d
}

func (d *device) get(ctx context.Context, paths ...string) error {
	return send(ctx, p2p.Config{App: "drop", Name: "Alice", Hooks: d.network.Hooks()}, "Bob", paths)
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
	put(t, filepath.Join(source, "read only/inside"), "x", 0o400)
	require.NoError(t, os.Mkdir(filepath.Join(source, "nothing here"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(source, "read only"), 0o555))
	t.Cleanup(func() { os.Chmod(filepath.Join(source, "read only"), 0o755) })
	old := time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC)
	require.NoError(t, os.Chtimes(filepath.Join(source, "bin/tool"), old, old))
	want, err := snapshot(source)
	require.NoError(t, err)
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(source, "link"))) // is skipped
	alone := put(t, filepath.Join(t.TempDir(), "alone.txt"), "a file by itself", 0o644)

	d := newDevice(t)
	put(t, filepath.Join(d.dir, "alone.txt"), "mine", 0o600)
	require.NoError(t, d.get(t.Context(), source, alone))
	got, err := snapshot(filepath.Join(d.dir, "top"))
	require.NoError(t, err)
	require.Equal(t, want, got)
	info, err := os.Stat(filepath.Join(d.dir, "top/bin/tool"))
	require.NoError(t, err)
	require.True(t, old.Equal(info.ModTime()))
	require.NoFileExists(t, filepath.Join(d.dir, "top/link"))

	// What is there keeps its name.
	require.NoError(t, d.get(t.Context(), source))
	again, err := snapshot(filepath.Join(d.dir, "top (1)"))
	require.NoError(t, err)
	require.Len(t, again, len(want))
	mine, _ := os.ReadFile(filepath.Join(d.dir, "alone.txt"))
	theirs, _ := os.ReadFile(filepath.Join(d.dir, "alone (1).txt"))
	require.Equal(t, "mine a file by itself", string(mine)+" "+string(theirs))

	require.Error(t, d.get(t.Context(), filepath.Join(source, "missing")))
}

// Cancelling on either side ends both, with nothing left behind.
func TestCancel(t *testing.T) {
	large := put(t, filepath.Join(t.TempDir(), "large"), strings.Repeat("x", 64<<20), 0o600)
	for _, who := range []string{"sender", "receiver"} {
		d := newDevice(t)
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan error, 1)
		go func() { sent <- d.get(ctx, large) }()
		require.Eventually(t, func() bool { // it is under way
			found, _ := filepath.Glob(filepath.Join(d.dir, ".drop-*", "large"))
			return len(found) > 0
		}, 20*time.Second, time.Millisecond)
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

// archive is what a sender says, honest or not.
func archive(what offer, headers ...*tar.Header) []byte {
	b, _ := what.AppendBinary(nil)
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		w.WriteHeader(h)
		io.WriteString(w, strings.Repeat("x", int(h.Size)))
	}
	w.Close()
	sum := blake3.Sum256(buf.Bytes())
	return append(append(b, buf.Bytes()...), sum[:]...)
}

// Whatever a sender says, it ends nowhere but in the folder, and only if it is what was offered.
func TestLies(t *testing.T) {
	file := func(name string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 2}
	}
	one := offer{files: 1, bytes: 2}
	good := archive(one, file("a"))
	flipped := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	lies := map[string][]byte{
		"content": flipped(12 + 512), "hash": flipped(len(good) - 1), "more than was offered": archive(offer{1, 1}, file("a")),
		"up": archive(one, file("../evil")), "absolute": archive(one, file("/tmp/evil")), "drive": archive(one, file("C:evil")),
		"a name twice": archive(offer{2, 4}, file("a"), file("a")), "in no folder": archive(one, file("no/a")),
		"symbolic link": archive(one, &tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, file("a/evil")),
		"hard link":     archive(one, &tar.Header{Name: "a", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}),
		"device":        archive(one, &tar.Header{Name: "a", Typeflag: tar.TypeChar}),
	}
	for _, n := range []int{0, 5, 12, 500, 12 + 513, len(good) - 600, len(good) - 1} {
		lies["cut "+string(rune('a'+n%26))] = good[:n]
	}
	d := newDevice(t)
	node := d.network.Start(t, p2p.Config{App: "drop"})
	say := func(b []byte) error {
		for peer := range node.Available(t.Context()) {
			s, err := peer.Open(t.Context(), "drop")
			require.NoError(t, err)
			s.Write(b)
			s.CloseWrite()
			_, err = io.Copy(io.Discard, s)
			s.Close()
			return err
		}
		return nil
	}
	for name, b := range lies {
		require.Error(t, say(b), name)
		left, err := os.ReadDir(d.dir)
		require.NoError(t, err)
		require.Empty(t, left, name)
	}
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	in := bytes.NewReader(lies["more than was offered"][12:])
	require.ErrorContains(t, extract(root, "temp", in, offer{1, 1}), "not what was offered")

	require.NoError(t, say(good))
	require.FileExists(t, filepath.Join(d.dir, "a"))
}
