package block_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// A recorder records what is written to a stream.
type recorder struct {
	net.Conn
	mu   sync.Mutex
	said bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	r.said.Write(b)
	r.mu.Unlock()
	return r.Conn.Write(b)
}

// again sends sources, and returns the results of both sides, and the bytes
// that the receiver has written.
func again(t testing.TB, sources []block.Source, dir string, opts block.ReceiveOptions) (sent, received side, said []byte) {
	t.Helper()
	a, b := pair(t)
	r := &recorder{Conn: b}
	sent, received = move(t, a, r, sources, nil, dir, opts)
	return sent, received, r.said.Bytes()
}

// family returns options for a trusted sender, with a given choice for existing
// files.
func family(e block.Existing) block.ReceiveOptions {
	return block.ReceiveOptions{From: "a", Trusted: true, Existing: e}
}

// rewrite gives a file another content, and a later time of modification.
func rewrite(t testing.TB, path string, content []byte) {
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	require.NoError(t, os.Chtimes(path, time.Time{}, info.ModTime().Add(time.Second)))
}

// readAll returns the content of a file.
func readAll(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

// namesIn returns the names in a folder, except that of the partial folder.
func namesIn(t testing.TB, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if e.Name() != ".sdp2p-partial" {
			names = append(names, e.Name())
		}
	}
	return names
}

// A file that was sent before, and is unchanged on both sides, is neither sent
// again nor stored twice.
func TestUnchanged(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	for name, size := range map[string]int{"empty": 0, "one": 1, "large": 1 << 20, "a/b/c": 5} {
		put(t, filepath.Join(top, name), random(size, 1), 0o640)
	}
	for _, times := range []bool{true, false} {
		dir := t.TempDir()
		opts := family(block.Keep)
		opts.Times = times
		_, received, _ := again(t, block.Paths(top), dir, opts)
		require.NoError(t, received.err)
		require.Zero(t, received.Unchanged)
		want := tree(t, top)
		require.Equal(t, want, tree(t, filepath.Join(dir, "top")))
		var last block.Progress
		opts.Progress = func(p block.Progress) { last = p }
		sent, received, _ := again(t, block.Paths(top), dir, opts)
		for _, s := range []side{sent, received} {
			require.NoError(t, s.err)
			require.Equal(t, 4, s.Files)
			require.Equal(t, 4, s.Unchanged)
			require.Zero(t, s.Sent)
			require.Zero(t, s.Resumed)
			require.EqualValues(t, 1<<20+6, s.Bytes)
		}
		require.Equal(t, last.TotalBytes, last.Bytes)
		require.Zero(t, last.Verified, "an unchanged file does not count as verified")
		require.Equal(t, []string{"top"}, namesIn(t, dir))
		require.Equal(t, want, tree(t, filepath.Join(dir, "top")))

		require.NoError(t, os.Remove(filepath.Join(dir, "top", "one")))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "top", "a/b/c"), []byte("mine"), 0o600))
		sent, received, _ = again(t, block.Paths(top), dir, opts)
		require.NoError(t, sent.err)
		require.NoError(t, received.err)
		require.Equal(t, 2, received.Unchanged)
		require.EqualValues(t, 6, received.Sent)
		require.Equal(t, "mine", readAll(t, filepath.Join(dir, "top", "a/b/c")))
		require.Equal(t, want["a/b/c"], readAll(t, filepath.Join(dir, "top", "a/b/c (2)")))
		require.FileExists(t, filepath.Join(dir, "top", "one"))
	}
}

// A file without a time of modification may have changed.
func TestNoTime(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"hello", "world"} {
		_, received, _ := again(t, []block.Source{source("a", []byte(content))}, dir, family(block.Replace))
		require.NoError(t, received.err)
		require.Zero(t, received.Unchanged)
	}
	require.Equal(t, []string{"a"}, namesIn(t, dir))
	require.Equal(t, "world", readAll(t, filepath.Join(dir, "a")))
}

// The app chooses how a file that has changed is stored.
func TestExisting(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("this system cannot exchange two names: Replace is Keep")
	}
	for e, want := range map[block.Existing][]string{
		block.Keep: {"first", "second", "third"}, block.Replace: {"third"}, block.Skip: {"first"},
	} {
		from := put(t, filepath.Join(t.TempDir(), "a"), nil, 0o640)
		dir := t.TempDir()
		for i, content := range []string{"first", "second", "third"} {
			rewrite(t, from, []byte(content))
			sent, received, _ := again(t, block.Paths(from), dir, family(e))
			require.NoError(t, sent.err)
			require.NoError(t, received.err)
			if e == block.Skip && i > 0 {
				require.ErrorIs(t, sent.Skipped[0], block.ErrRefused)
				require.ErrorIs(t, received.Skipped[0], block.ErrRefused)
			} else {
				require.Equal(t, 1, sent.Files)
				require.False(t, received.Lacks.Exchange)
			}
		}
		var got []string
		for _, name := range namesIn(t, dir) {
			got = append(got, readAll(t, filepath.Join(dir, name)))
		}
		slices.Sort(got)
		require.Equal(t, want, got, e)
		left, err := os.ReadDir(filepath.Join(dir, ".sdp2p-partial"))
		require.NoError(t, err)
		require.Len(t, left, 1, "only the index is left")
	}
}

// If a sender offers files that another sender or the user already has there,
// the answer is the same, byte for byte, as if they were not there, whatever
// the app's choice is. The same holds for a sender that is not trusted or not
// known.
func TestOthersFiles(t *testing.T) {
	content := random(1<<20, 3)
	from := put(t, filepath.Join(t.TempDir(), "a"), content, 0o640)
	info, err := os.Stat(from)
	require.NoError(t, err)
	for _, e := range []block.Existing{block.Keep, block.Replace, block.Skip} {
		other, untrusted, unknown := family(e), family(e), family(e)
		other.From, untrusted.Trusted, unknown.From = "b", false, ""
		for name, opts := range map[string]block.ReceiveOptions{"another": other, "untrusted": untrusted, "unknown": unknown} {
			answer := func(prepare func(dir string)) []byte {
				dir := t.TempDir()
				prepare(dir)
				before := readAll(t, put(t, filepath.Join(dir, "mine"), []byte("mine"), 0o600))
				sent, received, said := again(t, block.Paths(from), dir, opts)
				require.NoError(t, sent.err)
				require.NoError(t, received.err)
				require.Zero(t, received.Unchanged)
				require.EqualValues(t, len(content), received.Sent)
				require.Equal(t, before, readAll(t, filepath.Join(dir, "mine")))
				return withoutProgress(t, said)
			}
			empty := answer(func(string) {})
			require.Equal(t, empty, answer(func(dir string) { // the user's own file
				require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), content, 0o640))
				require.NoError(t, os.Chtimes(filepath.Join(dir, "a"), time.Time{}, info.ModTime()))
			}), "%s, %v", name, e)
			require.Equal(t, empty, answer(func(dir string) { // another sender's file
				opts := family(block.Replace)
				opts.Times = true
				_, received, _ := again(t, block.Paths(from), dir, opts)
				require.NoError(t, received.err)
			}), "%s, %v", name, e)
		}
	}
}

// Only a file that the sender has placed, and that is unchanged since, is
// replaced.
func TestReplaceSpares(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this system cannot exchange two names: Replace is Keep")
	}
	for name, change := range map[string]func(t *testing.T, path string){
		"edited": func(t *testing.T, path string) { rewrite(t, path, []byte("other")) },
		"edited, the same time": func(t *testing.T, path string) {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, []byte("longer than it was"), 0o600))
			require.NoError(t, os.Chtimes(path, time.Time{}, info.ModTime()))
		},
		"another file": func(t *testing.T, path string) {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path+".new", []byte("other"), 0o600))
			require.NoError(t, os.Chtimes(path+".new", time.Time{}, info.ModTime()))
			require.NoError(t, os.Rename(path+".new", path))
		},
		"a hard link": func(t *testing.T, path string) { require.NoError(t, os.Link(path, path+".too")) },
		"a symbolic link": func(t *testing.T, path string) {
			require.NoError(t, os.Rename(path, path+".real"))
			require.NoError(t, os.Symlink(filepath.Base(path)+".real", path))
		},
		"a folder": func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		},
		"the index is lost": func(t *testing.T, path string) {
			require.NoError(t, os.RemoveAll(filepath.Join(filepath.Dir(path), ".sdp2p-partial")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			from := put(t, filepath.Join(t.TempDir(), "a"), []byte("first"), 0o640)
			dir := t.TempDir()
			_, received, _ := again(t, block.Paths(from), dir, family(block.Replace))
			require.NoError(t, received.err)
			at := filepath.Join(dir, "a")
			change(t, at)
			before, ok := os.Lstat(at)
			require.NoError(t, ok)
			content, _ := os.ReadFile(at)
			rewrite(t, from, []byte("second"))
			_, received, _ = again(t, block.Paths(from), dir, family(block.Replace))
			require.NoError(t, received.err)
			after, err := os.Lstat(at)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after))
			now, _ := os.ReadFile(at)
			require.Equal(t, content, now)
			require.Equal(t, "second", readAll(t, filepath.Join(dir, "a (2)")))
		})
	}
}

// A name in another spelling is another file.
func TestReplaceSpelled(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"name", "NAME"} {
		from := put(t, filepath.Join(t.TempDir(), name), []byte(name), 0o640)
		_, received, _ := again(t, block.Paths(from), dir, family(block.Replace))
		require.NoError(t, received.err)
	}
	require.Len(t, namesIn(t, dir), 2)
}

// Another program replaces a file at the moment when the transfer replaces it:
// the other program's file stays.
func TestReplaceSwapped(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this system cannot exchange two names: Replace is Keep")
	}
	from := put(t, filepath.Join(t.TempDir(), "a"), []byte("first"), 0o640)
	dir := t.TempDir()
	_, received, _ := again(t, block.Paths(from), dir, family(block.Replace))
	require.NoError(t, received.err)
	at := filepath.Join(dir, "a")
	opts := family(block.Replace)
	opts.SetFaults(func(op, name string) error {
		if op == "exchange" { // after the last check of it
			require.NoError(t, os.WriteFile(at+".new", []byte("mine"), 0o600))
			require.NoError(t, os.Rename(at+".new", at))
		}
		return nil
	})
	rewrite(t, from, []byte("second"))
	_, received, _ = again(t, block.Paths(from), dir, opts)
	require.NoError(t, received.err)
	require.Equal(t, "mine", readAll(t, at))
	require.Equal(t, "second", readAll(t, filepath.Join(dir, "a (2)")))
	require.Equal(t, []string{"a", "a (2)"}, namesIn(t, dir))
}

// An entry that the app leaves out is not looked up, and the answer does not
// tell whether it exists.
func TestLeftOutUnseen(t *testing.T) {
	from := put(t, filepath.Join(t.TempDir(), "a"), []byte("first"), 0o640)
	var said [][]byte
	for range 2 {
		dir := t.TempDir()
		if len(said) > 0 {
			_, received, _ := again(t, block.Paths(from), dir, family(block.Keep))
			require.NoError(t, received.err)
		}
		a, b := pair(t)
		r := &recorder{Conn: b}
		skip := func(_ context.Context, o *block.Offer) error { o.Skip(0); return nil }
		_, received := move(t, a, r, block.Paths(from), skip, dir, family(block.Keep))
		require.NoError(t, received.err)
		require.Zero(t, received.Unchanged)
		said = append(said, withoutProgress(t, r.said.Bytes()))
	}
	require.Equal(t, said[0], said[1])
}

// withoutProgress returns what a receiver has written, without keeps and
// progress, which depend on timing.
func withoutProgress(t testing.TB, said []byte) []byte {
	var left []byte
	for r := bytes.NewReader(said); r.Len() > 0; {
		kind, err := r.ReadByte()
		require.NoError(t, err)
		switch {
		case kind == 0:
		case kind == 12:
			b := make([]byte, 16)
			_, err := io.ReadFull(r, b)
			require.NoError(t, err)
			if b[7]&0x80 != 0 { // this is a hint
				left = append(append(left, kind), b...)
			}
		case kind == 0x12: // claims
			b := make([]byte, 2+4)
			_, err := io.ReadFull(r, b)
			require.NoError(t, err)
			rest := make([]byte, binary.LittleEndian.Uint32(b[2:])+4)
			_, err = io.ReadFull(r, rest)
			require.NoError(t, err)
			pieces := make([]byte, 8*binary.LittleEndian.Uint32(rest[len(rest)-4:]))
			_, err = io.ReadFull(r, pieces)
			require.NoError(t, err)
			left = slices.Concat(left, []byte{kind}, b, rest, pieces)
		case kind == 4: // a single verdict
			verdict, err := r.ReadByte()
			require.NoError(t, err)
			left = append(left, kind, verdict)
		default:
			left = append(left, kind)
		}
	}
	return left
}

// A time of modification that the system cannot represent is not restored as a
// different one, and a file with such a time is still recognized.
func TestFarTime(t *testing.T) {
	for _, year := range []int{-5000, 1000, 1677, 2263, 2500, 200_000} {
		dir, content := t.TempDir(), []byte("hello")
		src := block.Source{Name: "a", Reader: bytes.NewReader(content), Size: 5, ModTime: time.Date(year, 7, 1, 0, 0, 0, 7, time.UTC)}
		opts := block.ReceiveOptions{From: "alice", Trusted: true, Times: true}
		began := time.Now().Add(-time.Hour)
		_, received, _ := again(t, []block.Source{src}, dir, opts)
		require.NoError(t, received.err)
		info, err := os.Stat(filepath.Join(dir, "a"))
		require.NoError(t, err)
		require.WithinRange(t, info.ModTime(), began, time.Now().Add(time.Hour), year)
		_, received, _ = again(t, []block.Source{src}, dir, opts)
		require.NoError(t, received.err)
		require.Equal(t, 1, received.Unchanged, year)
	}
}

// Where files do not keep their numbers, as on exFAT, size and time of
// modification tell that a file is the one that was placed. Nothing is replaced
// there: that takes more.
func TestRenumbered(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	put(t, filepath.Join(top, "small"), random(5, 1), 0o640)
	put(t, filepath.Join(top, "in/large"), random(1<<20, 1), 0o640)
	for renumbers, want := range map[bool][]string{true: {"top"}, false: {"top", "top (2)"}} {
		dir := t.TempDir()
		opts := family(block.Replace)
		if renumbers {
			opts.SetFaults(block.FailAlways("numbers", syscall.EIO))
		}
		_, received, _ := again(t, block.Paths(top), dir, opts)
		require.NoError(t, received.err)
		renumber(t, filepath.Join(dir, "top"))
		_, received, _ = again(t, block.Paths(top), dir, opts)
		require.NoError(t, received.err)
		require.Equal(t, want, namesIn(t, dir))
		if !renumbers {
			continue
		}
		require.Equal(t, 2, received.Unchanged)
		require.Zero(t, received.Sent)
		rewrite(t, filepath.Join(top, "small"), []byte("other"))
		_, received, _ = again(t, block.Paths(top), dir, opts)
		require.NoError(t, received.err)
		require.True(t, received.Lacks.Exchange)
		require.Equal(t, 1, received.Unchanged)
		require.Equal(t, []string{"in", "small", "small (2)"}, namesIn(t, filepath.Join(dir, "top")))
	}
}

// renumber gives all that is in a folder other numbers.
func renumber(t *testing.T, dir string) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chtimes(filepath.Join(copied, path), time.Time{}, info.ModTime())
	}))
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Rename(copied, dir))
}
