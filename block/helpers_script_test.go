package block

import (
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zeebo/blake3"

	"github.com/sdp2p/p2p/proto"
)

// say encodes messages.
func say(messages ...any) (b []byte) {
	var all totals
	for _, m := range messages {
		switch m := m.(type) {
		case string:
			b = append(b, m...)
		case kind:
			if m == kindOffered { // of all entries so far
				e := entry{kind: m, totals: all}
				b, _ = e.AppendBinary(b)
				continue
			}
			b, _ = (&message{kind: m}).AppendBinary(b)
		case entry:
			all.add(&m)
			b, _ = m.AppendBinary(b)
		case message:
			b, _ = m.AppendBinary(b)
		case wish:
			b, _ = m.AppendBinary(b)
		case hello:
			b, _ = m.AppendBinary(b)
		default:
			panic(m)
		}
	}
	return b
}

func file(name string, size int64) entry {
	sum := blake3.Sum256([]byte(name))
	return entry{kind: kindFile, path: name, mode: 0o644, size: size, stored: size, id: [16]byte(sum[:16])}
}

func folder(name string) entry { return entry{kind: kindFolder, path: name, mode: 0o755} }

func begin(i uint16) message { return message{kind: kindBegin, entry: i} }

func data(s string) string {
	return string(say(message{kind: kindData, size: uint32(len(s))})) + s
}

func chunkHash(s string) message { return message{kind: kindChunk, hash: blake3.Sum256([]byte(s))} }

func end(chunks ...string) message {
	h := newRoot()
	for _, c := range chunks {
		sum := blake3.Sum256([]byte(c))
		h.Write(sum[:])
	}
	m := message{kind: kindEnd}
	h.Digest().Read(m.hash[:])
	return m
}

// script returns the messages of an honest sender of one small file.
func script(content string) []byte {
	all := []any{hello{}, file("a", int64(len(content))), kindOffered, begin(0)}
	if content != "" {
		all = append(all, data(content), chunkHash(content), end(content))
	} else {
		all = append(all, end())
	}
	return say(append(all, kindSent, kindDone)...)
}

// hear gives bytes to a Receive that answers about a number of entries, and
// returns its result and the names in the destination. If answers is negative,
// the stream ends after the bytes.
func hear(t *testing.T, b []byte, answers int) (Result, []string, error) {
	t.Helper()
	return hearAll(t, b, answers)
}

// hearAll is hear for a transfer of several offers, with a number of entries
// for each.
func hearAll(t *testing.T, b []byte, answers ...int) (Result, []string, error) {
	here, there := net.Pipe()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	cut := answers[0] < 0
	go func() { // the other side reads all that we write
		defer there.Close()
		d := proto.NewDecoder(there)
		for {
			var m message
			if m.DecodeFrom(d); m.kind == kindAnswer {
				for range answers[0] {
					new(wish).decode(d, math.MaxInt64, 0)
				}
				answers = answers[1:]
			}
			if d.Err() != nil || m.kind == kindAbort || m.kind == kindDone && len(answers) == 0 {
				return
			}
			d.Reset(there)
		}
	}()
	go func() {
		there.Write(b)
		if cut {
			there.Close()
		}
	}()
	r, err := Receive(t.Context(), here, nil, root, ReceiveOptions{})
	here.Close()
	var names []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d.Name() == partialDir {
			return fs.SkipDir
		}
		rel, _ := filepath.Rel(dir, path)
		names = append(names, rel)
		if content, err := os.ReadFile(path); err == nil && len(content) > 0 {
			require.Equal(t, "hello", strings.TrimRight(string(content), "\x00"))
		}
		return err
	}))
	return r, names[1:], err
}
