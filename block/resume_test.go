package block_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/block"
)

// cut sends sources over a stream that breaks after a number of bytes.
func cut(t testing.TB, sources []block.Source, dir string, after int64, opts block.ReceiveOptions) (sent, received side) {
	a, b := pair(t)
	return move(t, &mangler{Conn: a, change: func(p []byte, offset int64) error {
		if offset+int64(len(p)) > after {
			return io.ErrClosedPipe
		}
		return nil
	}}, b, sources, nil, dir, opts)
}

func TestResume(t *testing.T) {
	content := random(4<<20+3, 5)
	sources := []block.Source{source("small", []byte("s")), source("large", content)}
	dir := t.TempDir()
	sent, received := cut(t, sources, dir, 3<<20, block.ReceiveOptions{From: "alice"})
	require.Error(t, sent.err)
	require.ErrorIs(t, received.err, block.ErrCut)
	require.NoFileExists(t, filepath.Join(dir, "large"))

	// No other sender can continue the transfer, learn of it, or destroy it.
	// Nor can the same sender with another offer.
	for _, other := range []struct {
		from string
		more []block.Source
	}{{"mallory", nil}, {"", nil}, {"alice", []block.Source{source("other", nil)}}} {
		a, b := pair(t)
		refuse := func(context.Context, *block.Offer) error { return nil }
		sent, _ = move(t, a, b, append(other.more, sources...), refuse, dir, block.ReceiveOptions{From: other.from})
		require.NoError(t, sent.err)
		require.Zero(t, sent.Resumed)
	}
	a, b := pair(t)
	sent, received = move(t, a, b, sources, nil, dir, block.ReceiveOptions{From: "alice"})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Greater(t, sent.Resumed, int64(1<<20))
	require.Equal(t, sent.Resumed, received.Resumed)
	require.Equal(t, int64(len(content))+1, sent.Resumed+sent.Sent)
	for _, name := range []string{"large", "large (2)", "large (3)", "large (4)"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, content, got)
	}
	require.NoDirExists(t, filepath.Join(dir, ".sdp2p-partial"))
}

// Data on the disk is hashed again before it is claimed, and the sender
// compares the hashes.
func TestResumeVerifies(t *testing.T) {
	content := random(4<<20, 5)
	for _, test := range []struct {
		name      string
		change    func(t *testing.T, partial string)
		content   []byte
		restarted int
		atMost    int64
	}{
		{"a byte rotted", func(t *testing.T, partial string) {
			f, err := os.OpenFile(partial, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte{content[300_000] ^ 1}, 300_000)
			require.NoError(t, err)
			f.Close()
		}, content, 0, 256 << 10},
		{"the end was lost", func(t *testing.T, partial string) { require.NoError(t, os.Truncate(partial, 400_000)) }, content, 0, 384 << 10},
		{"it was lost", func(t *testing.T, partial string) { require.NoError(t, os.Remove(partial)) }, content, 0, 0},
		{"the journal was cut", func(t *testing.T, partial string) {
			journal := partial[:strings.LastIndexByte(partial, '.')] + ".journal"
			info, err := os.Stat(journal)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(journal, info.Size()-3))
		}, content, 0, 3 << 20},
		{"the source changed", nil, append(append(bytes.Clone(content[:500_000]), 'x'), content[500_001:]...), 1, 384 << 10},
		{"the source has grown", nil, append(bytes.Clone(content), random(1<<20, 9)...), 0, 3 << 20},
		{"the source has shrunk", nil, content[:200_001], 0, 128 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			_, received := cut(t, []block.Source{source("f", content)}, dir, 3<<20, block.ReceiveOptions{From: "a"})
			require.Error(t, received.err)
			partials, err := filepath.Glob(filepath.Join(dir, ".sdp2p-partial", "*.0"))
			require.NoError(t, err)
			require.Len(t, partials, 1)
			if test.change != nil {
				test.change(t, partials[0])
			}
			a, b := pair(t)
			sent, received := move(t, a, b, []block.Source{source("f", test.content)}, nil, dir, block.ReceiveOptions{From: "a"})
			require.NoError(t, sent.err)
			require.NoError(t, received.err)
			require.Equal(t, test.restarted, received.Restarted)
			require.Equal(t, test.restarted, sent.Restarted)
			require.LessOrEqual(t, sent.Resumed, test.atMost)
			require.GreaterOrEqual(t, sent.Resumed, test.atMost-384<<10)
			got, err := os.ReadFile(filepath.Join(dir, "f"))
			require.NoError(t, err)
			require.True(t, bytes.Equal(test.content, got))
			require.NoDirExists(t, filepath.Join(dir, ".sdp2p-partial"))
		})
	}
}

// However often and wherever a transfer is cut, corrupted or changed, the files
// that arrive in the end are those that were sent in the end.
func TestResumeModel(t *testing.T) {
	top := block.MemoryDir(t)
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(top, "")
		require.NoError(t, err)
		contents := map[string][]byte{}
		order := []string{"a", "b", "c", "d"}
		for i, name := range order {
			contents[name] = random(rapid.SampledFrom([]int{0, 1, 128 << 10, 128<<10 + 1, 700_000}).Draw(r, "size"), uint64(i))
		}
		times := map[string]time.Time{}
		sources := func() (all []block.Source) {
			for _, name := range order {
				s := source(name, contents[name])
				s.ModTime = times[name]
				all = append(all, s)
			}
			return all
		}
		for n := rapid.IntRange(0, 5).Draw(r, "cuts"); n > 0; n-- {
			cut(t, sources(), dir, int64(rapid.IntRange(0, 1_500_000).Draw(r, "after")), block.ReceiveOptions{From: "a"})
			if _, err := os.Stat(filepath.Join(dir, ".sdp2p-partial")); err != nil {
				break // everything has arrived except the last message
			}
			if name := rapid.SampledFrom(order).Draw(r, "changed"); rapid.Bool().Draw(r, "change") && len(contents[name]) > 0 {
				if _, err := os.Stat(filepath.Join(dir, name)); err != nil { // or the first version
					contents[name] = bytes.Clone(contents[name])
					contents[name][rapid.IntRange(0, len(contents[name])-1).Draw(r, "byte")] ^= 1
					times[name] = times[name].Add(time.Second)
				}
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "d")); err == nil {
			return
		}
		a, b := pair(t)
		sent, received := move(t, a, b, sources(), nil, dir, block.ReceiveOptions{From: "a"})
		require.NoError(r, sent.err)
		require.NoError(r, received.err)
		got := tree(t, dir)
		delete(got, ".")
		require.Len(r, got, len(order))
		for name, want := range contents {
			require.True(r, string(want) == got[name], name)
		}
	})
}

// BLOCK_SPARSE is the size in GiB of a sparse file, whose transfer is cut after
// 4 GiB and resumed (make kill).
func TestSparse(t *testing.T) {
	size := int64(setting("BLOCK_SPARSE", 0)) << 30
	if size == 0 {
		t.Skip("BLOCK_SPARSE is not set: make kill")
	}
	large := put(t, filepath.Join(t.TempDir(), "sparse"), nil, 0o600)
	require.NoError(t, os.Truncate(large, size))
	f, err := os.OpenFile(large, os.O_WRONLY, 0)
	require.NoError(t, err)
	for _, at := range []int64{0, size/2 + size/8, size - 20<<20} {
		_, err = f.WriteAt(random(20<<20, uint64(at)), at)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	dir := t.TempDir()
	sent, _ := cut(t, block.Paths(large), dir, 30<<20, block.ReceiveOptions{From: "a"})
	require.Error(t, sent.err)
	a, b := pair(t)
	sent, received := move(t, a, b, block.Paths(large), nil, dir, block.ReceiveOptions{From: "a"})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Greater(t, sent.Resumed, size/2)
	require.Less(t, sent.Sent, int64(60<<20))
	require.NoError(t, same(large, filepath.Join(dir, "sparse")))
}

// A process may be killed when a file has got its final name, and has not lost
// its name in the partial folder yet. From then on, nothing is written to the
// file, whatever happens to it on either side.
func TestBothNames(t *testing.T) {
	content, large := random(1<<20, 1), random(4<<20, 2)
	changed := slices.Concat(content[:300_000], random(700_000, 3))
	for name, test := range map[string]struct {
		theirs []byte // the sender's file in later attempts
		user   func(path string) (at string, err error)
	}{
		"nothing": {content, nil},
		"changed": {changed, nil},
		"appended": {content, func(path string) (string, error) {
			return path, os.WriteFile(path, append(bytes.Clone(content), "my notes"...), 0o600)
		}},
		"renamed":             {content, func(path string) (string, error) { return path + "-mine", os.Rename(path, path+"-mine") }},
		"renamed and changed": {changed, func(path string) (string, error) { return path + "-mine", os.Rename(path, path+"-mine") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			at := filepath.Join(dir, "a")
			sources := func(content []byte) []block.Source {
				a := source("a", content)
				a.ModTime = time.Unix(int64(content[len(content)-1]), 0)
				return []block.Source{a, source("large", large)}
			}
			placed := make(chan struct{})
			opts := block.ReceiveOptions{From: name, Received: func(block.File, string) { close(placed) }}
			a, b := pair(t)
			_, received := move(t, &mangler{Conn: a, change: func(_ []byte, offset int64) error {
				if offset > 2<<20 {
					<-placed
					return io.ErrClosedPipe
				}
				return nil
			}}, b, sources(content), nil, dir, opts)
			require.Error(t, received.err)
			journals, err := filepath.Glob(filepath.Join(dir, ".sdp2p-partial", "*.journal"))
			require.NoError(t, err)
			require.Len(t, journals, 1)
			require.NoError(t, os.Link(at, strings.TrimSuffix(journals[0], "journal")+"0"))
			if test.user != nil {
				at, err = test.user(at)
				require.NoError(t, err)
			}
			want, err := os.ReadFile(at)
			require.NoError(t, err)

			opts.Received = nil
			_, received = cut(t, sources(test.theirs), dir, 100<<10, opts)
			require.Error(t, received.err)
			there, err := os.ReadFile(at)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, there))
			a, b = pair(t)
			_, received = move(t, a, b, sources(test.theirs), nil, dir, opts)
			require.NoError(t, received.err)
			there, err = os.ReadFile(at)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, there))
		})
	}
}
