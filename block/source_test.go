package block

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// A sized file system reports other sizes than its files have, as /proc and
// some FUSE file systems do.
type sized struct {
	fstest.MapFS
	says map[string]int64
}

type sizedFile struct {
	fs.File
	says int64
}

type sizedInfo struct {
	fs.FileInfo
	says int64
}

func (f sized) Open(name string) (fs.File, error) {
	file, err := f.MapFS.Open(name)
	if says, ok := f.says[name]; ok && err == nil {
		return sizedFile{file, says}, nil
	}
	return file, err
}

func (f sized) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := f.MapFS.ReadDir(name)
	for i, e := range entries {
		if says, ok := f.says[e.Name()]; ok {
			info, _ := e.Info()
			entries[i] = fs.FileInfoToDirEntry(sizedInfo{info, says})
		}
	}
	return entries, err
}

func (f sizedFile) Stat() (fs.FileInfo, error) {
	info, err := f.File.Stat()
	return sizedInfo{info, f.says}, err
}

func (i sizedInfo) Size() int64 { return i.says }

// A file with more content than the system reports arrives complete, or fails;
// it never arrives empty or shortened.
func TestSizes(t *testing.T) {
	files := fstest.MapFS{
		"empty": {}, "proc": {Data: []byte("model name: fast")}, "proc large": {Data: []byte(strings.Repeat("x", 300_000))},
		"short": {Data: []byte("longer than it says")}, "short large": {Data: []byte(strings.Repeat("y", 300_000))},
		"one": {Data: []byte("12")}, "sysfs": {Data: []byte("less than it says")},
	}
	says := map[string]int64{"proc": 0, "proc large": 0, "short": 6, "short large": 200_000, "one": 1, "sysfs": 4096}
	r := try{sources: []Source{{Name: "top", FS: sized{files, says}, Path: "."}}, dir: t.TempDir()}
	sent, received := r.run(t)
	for _, side := range []outcome{sent, received} {
		require.ErrorIs(t, side.err, ErrIncomplete)
		require.Len(t, side.Skipped, 4)
		for _, s := range side.Skipped {
			require.ErrorIs(t, s, ErrChanged)
		}
	}
	require.Equal(t, map[string]string{
		"empty": "", "proc": "model name: fast", "proc large": strings.Repeat("x", 300_000),
	}, contents(t, filepath.Join(r.dir, "top")))
}

// The same holds for files of the system, if there are any.
func TestProc(t *testing.T) {
	want, err := os.ReadFile("/proc/version")
	if err != nil {
		t.Skip("there is no /proc:", err)
	}
	r := try{sources: []Source{Path("/proc/version")}, dir: t.TempDir()}
	sent, received := r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, map[string]string{"version": string(want)}, contents(t, r.dir))
}

// A closed file system has folders that cannot be read.
type closed struct{ fstest.MapFS }

func (f closed) ReadDir(name string) ([]fs.DirEntry, error) {
	if strings.HasSuffix(name, "secret") {
		return nil, fs.ErrPermission
	}
	return f.MapFS.ReadDir(name)
}

// The receiver is told of everything that the sender leaves out, before it
// decides and in the result, and so is the sender's app. Nothing else is
// affected.
func TestLeftOut(t *testing.T) {
	files := closed{fstest.MapFS{
		"ok": {Data: []byte("ok")}, "secret/x": {}, "link": {Mode: fs.ModeSymlink}, "pipe": {Mode: fs.ModeNamedPipe}, `back\slash`: {}, "bad\nname/x": {},
		strings.Repeat("n", 300): {},
	}}
	missing := Path(filepath.Join(t.TempDir(), "missing"))
	sources := []Source{
		missing, {Name: "top", FS: files, Path: "."}, {Name: "bad\x1b[2Jname", Reader: strings.NewReader(""), Size: 0}, {Name: "nothing"},
		{Name: "last", Reader: strings.NewReader("last"), Size: 4},
	}
	why := map[string]error{
		"missing": ErrRead, "top/secret": ErrRead, "top/link": ErrIrregular, "top/pipe": ErrIrregular, `top/back\slash`: ErrName,
		"bad\uFFFD[2Jname": ErrName, "nothing": ErrRead, "top/bad\uFFFDname": ErrName, "top/" + strings.Repeat("n", 300): ErrName,
	}
	r := try{sources: sources, dir: t.TempDir()}
	shown := 0
	r.decide = func(_ context.Context, o *Offer) error {
		require.Equal(t, []int{2, 2, len(why)}, []int{o.Files, o.Folders, o.LeftOut})
		for f := range o.All() {
			if f.Err != nil {
				require.ErrorIs(t, f.Err, why[f.Path], f.Path)
				shown++
			}
		}
		return nil
	}
	sent, received := r.run(t)
	require.Equal(t, len(why), shown)
	require.NoError(t, os.RemoveAll(filepath.Join(r.dir, partialDir))) // for the next attempt
	require.Equal(t, map[string]string{"last": "last", "top/ok": "ok"}, contents(t, r.dir))
	for _, side := range []outcome{sent, received} {
		var incomplete *IncompleteError
		require.ErrorAs(t, side.err, &incomplete)
		require.Equal(t, len(why), incomplete.Missing)
		require.Equal(t, len(why), side.SkippedCount)
		for _, s := range side.Skipped {
			require.ErrorIs(t, s, why[printable(s.Path, maxPath)], s.Path)
		}
		require.Equal(t, 2, side.Files)
	}
	require.ErrorIs(t, sent.err, fs.ErrNotExist)
	require.NotContains(t, received.err.Error(), "\x1b")

	r = try{sources: sources, dir: t.TempDir()}
	r.send.AllowIncomplete, r.receive.AllowIncomplete = true, true
	sent, received = r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, len(why), received.SkippedCount)

	// If nothing is left to send, the app is not asked.
	r = try{sources: []Source{missing}, dir: t.TempDir(), decide: func(context.Context, *Offer) error { panic("asked") }}
	sent, received = r.run(t)
	require.ErrorIs(t, sent.err, fs.ErrNotExist)
	require.ErrorIs(t, received.err, ErrRead)
}

// A file that the receiver has chosen to leave out does not count as missing.
func TestUnwantedIsNotMissing(t *testing.T) {
	source, _ := folderOf(map[string]int{"a": 1, "b/c": 2})
	r := try{sources: []Source{source}, dir: t.TempDir()}
	r.decide = func(_ context.Context, o *Offer) error {
		for f := range o.All() {
			if f.Path == "top/b" {
				o.Skip(f.Index)
			}
		}
		return nil
	}
	sent, received := r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, 2, received.SkippedCount)
}

// Holes stay holes, in transit, at the receiver, and after an interruption; the
// data around them is correct, also in a part of a file, and if a chunk is sent
// again.
func TestHoles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("holes are not supported on this system")
	}
	const size, at = 60<<20 + 5000, 50<<20 + 12345
	path := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	_, err = f.WriteAt([]byte(strings.Repeat("data.", 40_000)), at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	stored := func(path string) int64 {
		info, err := os.Stat(path)
		require.NoError(t, err)
		n, ok := systemStored(info.Sys())
		require.True(t, ok)
		return n
	}
	require.Less(t, stored(path), int64(1<<20), "the file system of this folder has no holes")
	r := try{sources: []Source{Path(path)}, dir: t.TempDir()}
	got := filepath.Join(r.dir, "sparse")
	r.cut = func(written int64, b []byte) bool { return strings.Contains(string(b), "data.") }
	_, received := r.run(t)
	require.Error(t, received.err)
	r.cut = nil
	sent, received := r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Greater(t, sent.Resumed, int64(45<<20))
	require.Less(t, sent.Sent, int64(1<<20))
	require.Equal(t, int64(size), received.Bytes)
	require.Less(t, stored(got), int64(1<<20))
	sameBytes(t, path, got)

	// The app's own writer gets zeros, whatever it contained before.
	part := make(buf, 1<<20)
	for i := range part {
		part[i] = 'x'
	}
	r = try{sources: []Source{Path(path)}, dir: t.TempDir()}
	r.decide = func(_ context.Context, o *Offer) error { o.Part(0, at-500_000, at+500_000, part); return nil }
	_, received = r.run(t)
	require.NoError(t, received.err)
	whole := make([]byte, 1_000_000)
	f, err = os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.ReadAt(whole, at-500_000)
	require.NoError(t, err)
	require.Equal(t, string(whole), string(part[:1_000_000]))
}

type buf []byte

func (b buf) WriteAt(p []byte, at int64) (int, error) { return copy(b[at:], p), nil }

// sameBytes compares two files.
func sameBytes(t *testing.T, a, b string) {
	f, err := os.Open(a)
	require.NoError(t, err)
	defer f.Close()
	g, err := os.Open(b)
	require.NoError(t, err)
	defer g.Close()
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := f.Read(x)
		m, err2 := g.Read(y)
		require.Equal(t, n, m)
		require.True(t, string(x[:n]) == string(y[:m]))
		if err != nil || err2 != nil {
			require.Equal(t, err, err2)
			return
		}
	}
}

// A hole at a place where other data was written is written as zeros, and even
// a small file may have one.
func TestHoleMessages(t *testing.T) {
	hole := func(n uint32) message { return message{kind: kindHole, size: n} }
	zeros := strings.Repeat("\x00", 5)
	r, names, err := hear(t, say(hello{}, file("a", 10), kindOffered, begin(0), data("hello"), hole(5), chunkHash("hello"+zeros), end("hello"+zeros), kindSent, kindDone), 1)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, names)
	require.EqualValues(t, 10, r.Bytes)
	require.EqualValues(t, 5, r.Sent)
	r, names, err = hear(t, say(hello{}, file("a", 10), kindOffered, begin(0), data("hello"), data("wrong"), chunkHash("hello"+zeros), end("hello"+zeros), kindSent,
		message{kind: kindRepair}, data("hello"), hole(5), chunkHash("hello"+zeros), kindDone), 1)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, names)
	require.Equal(t, 1, r.Repaired)
	for _, lie := range [][]any{{hole(11)}, {data("hello"), hole(6)}, {hole(10), hole(1)}} {
		_, names, err = hear(t, say(append([]any{hello{}, file("a", 10), kindOffered, begin(0)}, lie...)...), 1)
		require.ErrorIs(t, err, ErrProtocol)
		require.Empty(t, names)
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain, ü and 日本": "plain, ü and 日本", "\x1b]0;x\x07": "\uFFFD]0;x\uFFFD", "a\nb\r\u202E": "a\uFFFDb\uFFFD\uFFFD", "\xff": "\uFFFD",
		strings.Repeat("x", 2000): strings.Repeat("x", 1024), strings.Repeat("\x00", 1024): strings.Repeat("\uFFFD", 341),
	} {
		require.Equal(t, want, printable(text, 1024))
	}
	m := message{kind: kindAbort, code: 2, reason: "\x1b[31mno"}
	require.Equal(t, "\uFFFD[31mno", m.why().(*PeerError).Reason)
}

// A file that was emptied after the offer is not sent as a hole, even if the
// system reports its old time.
func TestEmptied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, make([]byte, 400_000), 0o600))
	info, err := os.Stat(path)
	require.NoError(t, err)
	r := try{sources: []Source{Path(path)}, dir: t.TempDir()}
	r.decide = func(context.Context, *Offer) error {
		require.NoError(t, os.Truncate(path, 0))
		return os.Chtimes(path, info.ModTime(), info.ModTime())
	}
	sent, received := r.run(t)
	require.ErrorIs(t, sent.err, ErrChanged)
	require.ErrorIs(t, received.err, ErrChanged)
	require.NoFileExists(t, filepath.Join(r.dir, "f"))
}

// A positioned file has a position and no ReadAt: looking for holes moves its
// position.
type positioned struct{ f *os.File }

func (p positioned) Stat() (fs.FileInfo, error)                   { return p.f.Stat() }
func (p positioned) Read(b []byte) (int, error)                   { return p.f.Read(b) }
func (p positioned) Close() error                                 { return p.f.Close() }
func (p positioned) Seek(offset int64, whence int) (int64, error) { return p.f.Seek(offset, whence) }

type positionedFS struct{ fs.FS }

func (p positionedFS) Open(name string) (fs.File, error) {
	f, err := p.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return positioned{f.(*os.File)}, nil
}

func TestPositioned(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("data", 100_000)), 0o600))
	require.NoError(t, os.Truncate(path, 3<<20))
	r := try{sources: []Source{{Name: "f", FS: positionedFS{os.DirFS(dir)}, Path: "f"}}, dir: t.TempDir()}
	sent, received := r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	sameBytes(t, path, filepath.Join(r.dir, "f"))
}

// Entries that the sender cannot send do not count as missing if they are in a
// folder that the receiver does not want.
func TestLeftOutOfUnwanted(t *testing.T) {
	files := fstest.MapFS{"a": {}, "b/link": {Mode: fs.ModeSymlink}, "b/x": {}}
	r := try{sources: []Source{{Name: "top", FS: files, Path: "."}}, dir: t.TempDir()}
	r.decide = func(_ context.Context, o *Offer) error {
		for f := range o.All() {
			if f.Path == "top/b" {
				o.Skip(f.Index)
			}
		}
		return nil
	}
	sent, received := r.run(t)
	for _, side := range []outcome{sent, received} {
		require.NoError(t, side.err)
		require.Equal(t, 3, side.SkippedCount)
	}
}

// Hashing a long hole stops when the context ends.
func TestHoleEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := newChunkHasher(ctx)
	h.zeros(1 << 40)
	cancel()
	require.ErrorIs(t, h.write([]byte("x")), context.Canceled)
	h.reset()
	h.zeros(1 << 40)
	_, err := h.sum()
	require.ErrorIs(t, err, context.Canceled)
}
