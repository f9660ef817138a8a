package block_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/block"
)

const chunk = 128 << 10

// Data of a changed file that is already there is not sent again.
func TestReuse(t *testing.T) {
	old := random(20*chunk+5, 1)
	other := random(4*chunk, 2)
	for name, test := range map[string]struct {
		change func(b []byte) []byte
		sent   int64 // at most
		reused int64 // at least
	}{
		"a byte":           {func(b []byte) []byte { b[7*chunk+9]++; return b }, 8 << 10, 20*chunk - 8<<10},
		"the last byte":    {func(b []byte) []byte { b[20*chunk+4]++; return b }, 8 << 10, 20 * chunk},
		"every chunk":      {func(b []byte) []byte { return every(b, chunk, 1) }, 21 * 8 << 10, 20 * (chunk - 8<<10)},
		"all":              {func(b []byte) []byte { return random(20*chunk+5, 3) }, 20*chunk + 5, 0},
		"longer":           {func(b []byte) []byte { return append(b, random(chunk, 4)...) }, 2 * chunk, 20 * chunk},
		"shorter":          {func(b []byte) []byte { return b[:10*chunk+1] }, 1, 10 * chunk},
		"chunks moved":     {func(b []byte) []byte { return append(b[5*chunk:20*chunk], b[:5*chunk]...) }, 0, 20 * chunk},
		"from another one": {func(b []byte) []byte { return append(b[:10*chunk], other...) }, 0, 14 * chunk},
		"holes":            {func(b []byte) []byte { clear(b[2*chunk : 9*chunk]); return b }, 7 * chunk, 13 * chunk},
		"touched":          {func(b []byte) []byte { return b }, 0, 20*chunk + 5},
	} {
		for _, e := range []block.Existing{block.Keep, block.Replace} {
			if e == block.Replace && runtime.GOOS == "windows" {
				continue
			}
			top := filepath.Join(t.TempDir(), "top")
			from := put(t, filepath.Join(top, "a"), old, 0o640)
			put(t, filepath.Join(top, "other"), other, 0o640)
			dir := t.TempDir()
			_, received, _ := again(t, block.Paths(top), dir, family(e))
			require.NoError(t, received.err)
			want := test.change(bytes.Clone(old))
			rewrite(t, from, want)
			var last block.Progress
			opts := family(e)
			opts.Progress = func(p block.Progress) { last = p }
			sent, received, _ := again(t, block.Paths(top), dir, opts)
			for _, s := range []side{sent, received} {
				require.NoError(t, s.err, name)
				require.LessOrEqual(t, s.Sent, test.sent, name)
				require.GreaterOrEqual(t, s.Reused, test.reused, name)
				require.EqualValues(t, len(want), s.Sent+s.Reused, name)
				require.Equal(t, 1, s.Unchanged)
				require.Zero(t, s.Repaired)
			}
			require.Equal(t, last.TotalBytes, last.Bytes)
			require.EqualValues(t, len(want), last.Verified, "what was copied is verified, and what is unchanged is not")
			at := "a"
			if e == block.Keep {
				at = "a (2)"
				require.Equal(t, string(old), readAll(t, filepath.Join(dir, "top", "a")))
			}
			require.True(t, string(want) == readAll(t, filepath.Join(dir, "top", at)), name)
		}
	}
}

// every alters one byte in every n bytes.
func every(b []byte, n, at int) []byte {
	for i := at; i < len(b); i += n {
		b[i]++
	}
	return b
}

// Whatever has happened to the earlier version meanwhile, the new one arrives
// complete.
func TestReuseBelow(t *testing.T) {
	old := random(20*chunk, 1)
	for name, change := range map[string]func(t *testing.T, at string){
		"another content, the same time": func(t *testing.T, at string) {
			info, err := os.Stat(at)
			require.NoError(t, err)
			f, err := os.OpenFile(at, os.O_WRONLY, 0)
			require.NoError(t, err)
			for i := range int64(10) {
				_, err = f.WriteAt([]byte{1, 2, 3}, 2*i*chunk+chunk/2)
				require.NoError(t, err)
			}
			require.NoError(t, f.Close())
			require.NoError(t, os.Chtimes(at, time.Time{}, info.ModTime()))
		},
		"it is gone": func(t *testing.T, at string) { require.NoError(t, os.Remove(at)) },
	} {
		from := put(t, filepath.Join(t.TempDir(), "a"), old, 0o640)
		dir := t.TempDir()
		_, received, _ := again(t, block.Paths(from), dir, family(block.Keep))
		require.NoError(t, received.err)
		change(t, filepath.Join(dir, "a"))
		want := every(bytes.Clone(old), 3*chunk, 77)
		rewrite(t, from, want)
		sent, received, _ := again(t, block.Paths(from), dir, family(block.Keep))
		require.NoError(t, sent.err, name)
		require.NoError(t, received.err, name)
		// Unaltered and unchanged chunks are reused, and so are pieces of those
		// that only the sender has changed.
		if name != "it is gone" {
			require.EqualValues(t, 7*chunk+3*(chunk-8<<10), received.Reused, "altered chunks are not claimed")
		}
		got := ""
		for _, at := range namesIn(t, dir) {
			got = readAll(t, filepath.Join(dir, at)) // the last one counts
		}
		require.True(t, string(want) == got, name)
	}
}

// A chunk that was altered, and that should have been copied as a hole, is sent
// as a hole and becomes one.
func TestReuseHole(t *testing.T) {
	from := put(t, filepath.Join(t.TempDir(), "a"), nil, 0o640)
	sparse := func(first byte) {
		content := append([]byte{first}, random(chunk-1, 1)...)
		rewrite(t, from, content)
		info, err := os.Stat(from)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(from, 9*chunk))
		require.NoError(t, os.Chtimes(from, time.Time{}, info.ModTime().Add(time.Second)))
	}
	sparse(1)
	dir := t.TempDir()
	at := filepath.Join(dir, "a")
	_, received, _ := again(t, block.Paths(from), dir, family(block.Keep))
	require.NoError(t, received.err)
	info, err := os.Stat(at)
	require.NoError(t, err)
	f, err := os.OpenFile(at, os.O_WRONLY, 0)
	require.NoError(t, err)
	for i := range int64(8) {
		_, err = f.WriteAt(random(chunk, 7), (i+1)*chunk)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	require.NoError(t, os.Chtimes(at, time.Time{}, info.ModTime()))
	sparse(2)
	_, received, _ = again(t, block.Paths(from), dir, family(block.Keep))
	require.NoError(t, received.err)
	require.Zero(t, received.Repaired)
	require.NoError(t, same(from, filepath.Join(dir, "a (2)")))
}

// A sender offers a file of its own, with hashes of chunks that another one has
// sent: the answer is the same as if those chunks were not there.
func TestOthersChunks(t *testing.T) {
	secret, mine := random(8*chunk, 1), random(8*chunk, 2)
	var said [][]byte
	for _, has := range []bool{false, true} {
		dir := t.TempDir()
		if has {
			opts := family(block.Keep)
			opts.From = "b"
			_, received, _ := again(t, []block.Source{source("secret", secret)}, dir, opts)
			require.NoError(t, received.err)
		}
		from := put(t, filepath.Join(t.TempDir(), "a"), mine, 0o640)
		_, received, _ := again(t, block.Paths(from), dir, family(block.Keep))
		require.NoError(t, received.err)
		rewrite(t, from, slices.Concat(mine[:chunk], secret[chunk:]))
		_, received, answer := again(t, block.Paths(from), dir, family(block.Keep))
		require.NoError(t, received.err)
		require.EqualValues(t, 7*chunk, received.Sent)
		answer = withoutProgress(t, answer)
		said = append(said, answer[:bytes.IndexByte(answer, 0x12)+3+4+8]) // until the claims' states
	}
	require.Equal(t, said[0], said[1])
}

// The receiver's hashing for a sender is limited; data beyond the limit is sent
// again.
func TestReuseLimit(t *testing.T) {
	dir := t.TempDir()
	content := random(8*chunk, 1)
	from := put(t, filepath.Join(t.TempDir(), "a"), content, 0o640)
	var reused []bool
	for range 8 {
		_, received, _ := again(t, block.Paths(from), dir, family(block.Keep))
		require.NoError(t, received.err)
		reused = append(reused, received.Reused > 0)
		rewrite(t, from, content)
	}
	// The receiver hashes twice the amount that was sent; then the file is sent
	// once more.
	require.Equal(t, []bool{false, true, true, false, true, true, false, true}, reused)
}

// Whatever the change, and wherever the stream breaks, the file arrives in the
// end.
func TestReuseAnyhow(t *testing.T) {
	top := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(top, "")
		require.NoError(rt, err)
		defer os.RemoveAll(dir)
		content := random(rapid.IntRange(1, 10*chunk).Draw(rt, "size"), 1)
		from := put(t, filepath.Join(dir, "from", "a"), content, 0o640)
		to := filepath.Join(dir, "to")
		require.NoError(rt, os.Mkdir(to, 0o700))
		opts := family(rapid.SampledFrom([]block.Existing{block.Keep, block.Replace}).Draw(rt, "existing"))
		for range rapid.IntRange(1, 4).Draw(rt, "versions") {
			for range rapid.IntRange(0, 3).Draw(rt, "cuts") {
				cut(t, block.Paths(from), to, int64(rapid.IntRange(0, len(content)+9000).Draw(rt, "cut")), opts)
			}
			_, received, _ := again(t, block.Paths(from), to, opts)
			require.NoError(rt, received.err)
			found := false
			for _, name := range namesIn(t, to) {
				found = found || readAll(t, filepath.Join(to, name)) == string(content)
			}
			require.True(rt, found)
			for range rapid.IntRange(0, 5).Draw(rt, "changes") {
				if len(content) > 0 {
					at := rapid.IntRange(0, len(content)-1).Draw(rt, "at")
					copy(content[at:], random(rapid.IntRange(1, chunk).Draw(rt, "bytes"), uint64(at)))
				}
			}
			switch rapid.IntRange(0, 3).Draw(rt, "length") {
			case 0:
				content = append(content, random(rapid.IntRange(1, 2*chunk).Draw(rt, "more"), 5)...)
			case 1:
				content = content[:rapid.IntRange(0, len(content)).Draw(rt, "less")]
			}
			rewrite(t, from, content)
		}
	})
}
