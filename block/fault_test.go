package block_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// A mangler is a stream that changes what is written to it.
type mangler struct {
	net.Conn
	change func(b []byte, offset int64) error // an error breaks the stream
	offset int64
}

func (m *mangler) Write(b []byte) (int, error) {
	b = bytes.Clone(b)
	if err := m.change(b, m.offset); err != nil {
		// Closing a TCP connection with unread data would also discard the data
		// that has just arrived at the other side: so it is closed once all of
		// that was read.
		m.Conn.(interface{ CloseWrite() error }).CloseWrite()
		io.Copy(io.Discard, m.Conn)
		m.Conn.Close()
		return 0, err
	}
	m.offset += int64(len(b))
	return m.Conn.Write(b)
}

// marked returns content with 4 KiB of marks in each of the given chunks. See
// spoil.
func marked(size int, at ...int) []byte {
	b := random(size, 3)
	for _, chunk := range at {
		copy(b[chunk*(128<<10)+50_000:], bytes.Repeat([]byte("mark"), 1000))
	}
	return b
}

func spoil(times int) func([]byte, int64) error {
	return func(b []byte, _ int64) error {
		if i := bytes.Index(b, []byte("markmarkmark")); i >= 0 && times > 0 {
			times--
			b[i] ^= 1
		}
		return nil
	}
}

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

// A file that changes while it is sent does not get its name; the others
// arrive.
func TestChanged(t *testing.T) {
	top := t.TempDir()
	large := put(t, filepath.Join(top, "large"), random(8<<20, 1), 0o600)
	other := put(t, filepath.Join(top, "other"), []byte("other"), 0o600)
	for name, change := range map[string]func(t *testing.T) error{
		"longer":  func(*testing.T) error { return os.Truncate(large, 9<<20) },
		"shorter": func(*testing.T) error { return os.Truncate(large, 1<<20) },
		"touched": func(*testing.T) error { return os.Chtimes(large, time.Time{}, time.Unix(1, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			put(t, large, random(8<<20, 1), 0o600)
			a, b := pair(t)
			var once sync.Once
			dir := t.TempDir()
			m := &mangler{Conn: a, change: func(p []byte, offset int64) (err error) {
				if offset > 4<<20 {
					once.Do(func() { err = change(t) })
				}
				return err
			}}
			sent, received := move(t, m, b, block.Paths(large, other), nil, dir, block.ReceiveOptions{From: "a"})
			require.ErrorIs(t, sent.err, block.ErrChanged)
			require.ErrorIs(t, received.err, block.ErrChanged)
			require.NoFileExists(t, filepath.Join(dir, "large"))
			require.FileExists(t, filepath.Join(dir, "other"))
			a, b = pair(t)
			sent, received = move(t, a, b, block.Paths(large, other), nil, dir, block.ReceiveOptions{From: "a"})
			require.NoError(t, sent.err)
			require.NoError(t, received.err)
			require.NoError(t, same(large, filepath.Join(dir, "large")))
			require.NoFileExists(t, filepath.Join(dir, "other (2)"))
		})
	}
}

type failing struct {
	io.ReaderAt
	at int64
}

func (f failing) ReadAt(b []byte, offset int64) (int, error) {
	if offset >= f.at {
		return 0, errors.New("bad sector")
	}
	return f.ReaderAt.ReadAt(b, offset)
}

func TestReadError(t *testing.T) {
	bad := source("bad", random(2<<20, 1))
	bad.Reader = failing{bad.Reader, 1 << 20}
	gone := block.Source{Name: "fs", FS: fstest.MapFS{"in/a": {Data: []byte("a"), ModTime: time.Unix(5, 0)}, "b": {}}, Path: "."}
	a, b := pair(t)
	dir := t.TempDir()
	sent, received := move(t, a, b, []block.Source{bad, gone}, nil, dir, block.ReceiveOptions{Times: true})
	require.ErrorIs(t, sent.err, block.ErrRead)
	require.ErrorContains(t, sent.err, "bad sector")
	require.ErrorIs(t, received.err, block.ErrRead)
	require.NotContains(t, received.err.Error(), "bad sector")
	require.Equal(t, map[string]string{".": "d---------", "fs": "d---------", "fs/in": "d---------", "fs/in/a": "a", "fs/b": ""}, tree(t, dir))
	a, b = pair(t)
	sent, received = move(t, a, b, block.Paths(filepath.Join(dir, "missing")), nil, dir, block.ReceiveOptions{})
	require.ErrorIs(t, sent.err, os.ErrNotExist)
	require.ErrorIs(t, received.err, block.ErrRead)
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

type writerAt []byte

func (w writerAt) WriteAt(b []byte, at int64) (int, error) { return copy(w[at:], b), nil }

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

// A symbolic link in the destination does not lead out of it, and an existing
// name stays as it is.
func TestDestination(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Skip("there are no symbolic links:", err)
	}
	require.NoError(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(dir, "dangling")))
	top := filepath.Join(t.TempDir(), "link")
	put(t, filepath.Join(top, "x"), []byte("x"), 0o600)
	a, b := pair(t)
	sent, received := move(t, a, b, append(block.Paths(top), source("dangling", []byte("d"))), nil, dir, block.ReceiveOptions{})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, map[string]string{".": "d---------"}, tree(t, outside))
	got := tree(t, dir)
	require.Equal(t, "x", got["link (2)/x"])
	require.Equal(t, "d", got["dangling (2)"])

	// A symbolic link is planted where files are stored, after the offer.
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, ".sdp2p-partial")))
	a, b = pair(t)
	_, received = move(t, a, b, []block.Source{source("y", []byte("y"))}, nil, dir, block.ReceiveOptions{})
	require.ErrorIs(t, received.err, block.ErrWrite)
	require.Equal(t, map[string]string{".": "d---------"}, tree(t, outside))
}

func TestDestinationRemoved(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open folder cannot be removed")
	}
	dir := filepath.Join(t.TempDir(), "dest")
	require.NoError(t, os.Mkdir(dir, 0o755))
	a, b := pair(t)
	var once sync.Once
	m := &mangler{Conn: a, change: func(_ []byte, offset int64) error {
		if offset > 1<<20 {
			once.Do(func() { os.RemoveAll(dir) })
		}
		return nil
	}}
	sent, received := move(t, m, b, []block.Source{source("f", random(2<<20, 1)), source("g", []byte("g"))}, nil, dir, block.ReceiveOptions{})
	require.ErrorIs(t, received.err, block.ErrWrite)
	require.ErrorIs(t, sent.err, block.ErrWrite)
}

// The disk is full: this is known beforehand, or found out halfway.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs root on Linux, to mount a small file system")
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=4m", "block-test", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount: %v: %s", err, out)
	}
	t.Cleanup(func() { require.NoError(t, exec.Command("umount", "-l", dir).Run()) })
	a, b := pair(t)
	sources := []block.Source{source("f", random(5<<20, 1))}
	sent, received := move(t, a, b, sources, nil, dir, block.ReceiveOptions{From: "a"})
	var space *block.SpaceError
	require.ErrorAs(t, received.err, &space)
	require.EqualValues(t, 5<<20, space.Needed)
	require.ErrorIs(t, sent.err, block.ErrDiskFull)
	require.ErrorContains(t, sent.err, "5242880 bytes are needed")

	fill := put(t, filepath.Join(dir, "fill"), make([]byte, 1<<20), 0o600)
	sources = []block.Source{source("f", random(3<<19, 1))}
	a, b = pair(t)
	var once sync.Once
	m := &mangler{Conn: a, change: func(_ []byte, offset int64) (err error) {
		if offset > 1<<19 {
			once.Do(func() { os.WriteFile(filepath.Join(dir, "more"), make([]byte, 3<<20), 0o600) })
		}
		return err
	}}
	sent, received = move(t, m, b, sources, nil, dir, block.ReceiveOptions{From: "a"})
	require.ErrorIs(t, received.err, block.ErrDiskFull)
	require.ErrorIs(t, sent.err, block.ErrDiskFull)
	require.NoFileExists(t, filepath.Join(dir, "f"))
	require.NoError(t, os.Remove(fill))
	require.NoError(t, os.Remove(filepath.Join(dir, "more")))
	a, b = pair(t)
	_, received = move(t, a, b, sources, nil, dir, block.ReceiveOptions{From: "a"})
	require.NoError(t, received.err)
}

// Many small files take few operations, and the leftovers of other transfers
// are removed when they are old.
func TestManyAndClean(t *testing.T) {
	const n = 1500
	files := fstest.MapFS{}
	for i := range n {
		files[strings.Repeat("x", 1+i%50)+string(rune('a'+i%26))+string(rune('0'+i%10))+"/"+strings.Repeat("y", 1+i/50)] = &fstest.MapFile{Data: random(rand.IntN(5000), uint64(i))}
	}
	dir := t.TempDir()
	var told atomic.Int32
	a, b := pair(t)
	sent, received := move(t, a, b, []block.Source{{Name: "all", FS: files, Path: "."}}, nil, dir, block.ReceiveOptions{Received: func(f block.File, path string) { told.Add(1) }})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, len(files), received.Files)
	require.EqualValues(t, received.Files+received.Folders, told.Load())
	got := tree(t, filepath.Join(dir, "all"))
	for name, f := range files {
		require.Equal(t, string(f.Data), got[name])
	}

	_, received = cut(t, []block.Source{source("large", random(4<<20, 1))}, dir, 3<<20, block.ReceiveOptions{From: "a"})
	require.Error(t, received.err)
	root := open(t, dir)
	left := func() int {
		names, _ := os.ReadDir(filepath.Join(dir, ".sdp2p-partial"))
		return len(names)
	}
	require.Equal(t, 2, left())
	require.NoError(t, block.Clean(root, time.Hour))
	require.Equal(t, 2, left())
	old := time.Now().Add(-8 * 24 * time.Hour)
	names, err := os.ReadDir(filepath.Join(dir, ".sdp2p-partial"))
	require.NoError(t, err)
	for _, e := range names {
		require.NoError(t, os.Chtimes(filepath.Join(dir, ".sdp2p-partial", e.Name()), old, old))
	}
	a, b = pair(t)
	_, received = move(t, a, b, []block.Source{source("other", nil)}, nil, dir, block.ReceiveOptions{From: "b"})
	require.NoError(t, received.err)
	require.Zero(t, left())
}
