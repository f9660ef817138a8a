package block

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

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

func TestHonest(t *testing.T) {
	for _, content := range []string{"", "hello"} {
		r, names, err := hear(t, script(content), 1)
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, names)
		require.Equal(t, 1, r.Files)
	}
}

// A small file may arrive in pieces, and be followed by empty ones.
func TestPieces(t *testing.T) {
	for _, pieces := range [][]string{{"hello"}, {"he", "llo"}, {"h", "e", "l", "l", "o"}} {
		all := []any{hello{}, file("a", 5), file("b", 0), kindOffered, begin(0)}
		for _, p := range pieces {
			all = append(all, data(p))
		}
		all = append(all, chunkHash("hello"), end("hello"), begin(1), end(), kindSent, kindDone)
		r, names, err := hear(t, say(all...), 2)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, names)
		require.EqualValues(t, 5, r.Bytes)
	}
}

// Whatever a sender writes, no file appears unless it was offered, verified and
// complete.
func TestLies(t *testing.T) {
	good := script("hello")
	lies := map[string][]byte{
		"longer":                say(hello{}, file("a", 5), kindOffered, begin(0), data("hello!"), chunkHash("hello!"), end("hello!"), kindSent),
		"shorter":               say(hello{}, file("a", 6), kindOffered, begin(0), data("hello"), chunkHash("hello"), end("hello"), kindSent),
		"no hash":               say(hello{}, file("a", 5), kindOffered, begin(0), data("hello"), end("hello"), kindSent),
		"no end":                say(hello{}, file("a", 5), kindOffered, begin(0), data("hello"), chunkHash("hello"), kindSent),
		"another root":          say(hello{}, file("a", 5), kindOffered, begin(0), data("hello"), chunkHash("hello"), end("other"), kindSent),
		"left out":              say(hello{}, file("a", 5), kindOffered, kindSent),
		"one of two left out":   say(hello{}, file("a", 5), file("b", 0), kindOffered, begin(1), end(), kindSent),
		"twice":                 say(hello{}, file("a", 0), kindOffered, begin(0), end(), begin(0), end(), kindSent),
		"after the end":         say(hello{}, file("a", 5), kindOffered, begin(0), data("hallo"), chunkHash("hello"), end("hello"), kindSent, kindSent),
		"none such":             say(hello{}, file("a", 0), kindOffered, begin(7), end(), kindSent),
		"a folder":              say(hello{}, folder("a"), kindOffered, begin(0), end(), kindSent),
		"from a chunk on":       say(hello{}, file("a", 5), kindOffered, message{kind: kindBegin, chunk: 1}, end(), kindSent),
		"inside another":        say(hello{}, file("a", 5), file("b", 5), kindOffered, begin(0), begin(1)),
		"data of nothing":       say(hello{}, file("a", 5), kindOffered, data("hello")),
		"a hash of nothing":     say(hello{}, file("a", 5), kindOffered, begin(0), chunkHash("")),
		"a repair of nothing":   say(hello{}, file("a", 5), kindOffered, message{kind: kindRepair, entry: 0}),
		"a repair in a chunk":   say(hello{}, file("a", 5), kindOffered, begin(0), data("he"), message{kind: kindRepair, entry: 0}),
		"done":                  say(hello{}, file("a", 5), kindOffered, kindDone),
		"an answer":             say(hello{}, file("a", 5), kindOffered, kindAnswer),
		"progress":              say(hello{}, file("a", 5), kindOffered, message{kind: kindProgress}),
		"more than 2^63":        say(hello{}, file("a", math.MaxInt64), file("b", 1), kindOffered),
		"a failure of no file":  say(hello{}, file("a", 5), kindOffered, message{kind: kindFailed, entry: 3}),
		"failure of a folder":   say(hello{}, folder("a"), kindOffered, message{kind: kindFailed, entry: 0}),
		"failure inside a file": say(hello{}, file("a", 5), file("b", 5), kindOffered, begin(0), message{kind: kindFailed, entry: 1}),
	}
	for name, b := range lies {
		t.Run(name, func(t *testing.T) {
			answers := strings.Count(string(b), "\xA4\x01") + strings.Count(string(b), "\xED\x01") // one mode for each entry
			_, names, err := hear(t, b, answers)
			want := ErrProtocol
			if name == "another root" {
				want = ErrCorrupt
			}
			require.ErrorIs(t, err, want)
			for _, n := range names { // the first of two files was complete
				require.Equal(t, "a", n)
				require.Contains(t, []string{"twice"}, name)
			}
		})
	}
	for n := range len(good) - 1 {
		_, names, err := hear(t, good[:n], -1)
		require.ErrorIs(t, err, errStream, n)
		if n < len(good)-2 {
			require.Empty(t, names, n)
		} else { // the file is complete
			require.Subset(t, []string{"a"}, names)
		}
	}
	_, names, err := hear(t, good[:len(good)-1], 1) // everything but the sender's last message
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, names)
	_, _, err = hear(t, []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), 0)
	require.ErrorIs(t, err, ErrVersion)
}

// The size of an offer is limited before the app is asked.
func TestOfferTooLarge(t *testing.T) {
	short, long := say(folder("a")), say(folder(strings.Repeat("x", maxPath)))
	for _, b := range [][]byte{bytes.Repeat(short, maxEntries+1), bytes.Repeat(long, maxOffer/len(long)+1)} {
		_, _, err := hear(t, append(say(hello{}), b...), 0)
		require.ErrorIs(t, err, ErrProtocol)
	}
}

// answerLies are messages that a receiver must not send to a sender that has
// offered a file of 5 bytes.
func TestAnswerLies(t *testing.T) {
	yes := wish{verdict: verdictWhole}
	for name, b := range map[string][]byte{
		"before the answer":  say(message{kind: kindRepair}),
		"two answers":        say(kindAnswer, yes, kindAnswer, yes),
		"another kind":       say(kindAnswer, yes, kindSent),
		"no verdict":         say(kindAnswer, wish{verdict: 77}),
		"a claim too many":   say(kindAnswer, wish{verdict: verdictFrom, claims: make([]hash, 2)}),
		"a part behind it":   say(kindAnswer, wish{verdict: verdictPart, start: 2, end: 6}),
		"a repair of what?":  say(kindAnswer, yes, message{kind: kindRepair, entry: 3}),
		"a repair of where?": say(kindAnswer, yes, message{kind: kindRepair, chunk: 3}),
		"a failure of what?": say(kindAnswer, yes, message{kind: kindFailed, entry: 3}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { answerLie(t, b) })
		})
	}
}

func answerLie(t *testing.T, b []byte) {
	here, there := net.Pipe()
	go func() {
		r := bufio.NewReader(there)
		d := proto.NewDecoder(r)
		new(hello).DecodeFrom(d)
		for e := (entry{}); e.kind != kindOffered && d.Err() == nil; {
			e.DecodeFrom(d)
		}
		go io.Copy(io.Discard, r)
		there.Write(b)
	}()
	_, err := Send(t.Context(), here, []Source{{Name: "a", Reader: strings.NewReader("hello"), Size: 5}}, SendOptions{})
	here.Close()
	there.Close()
	require.ErrorIs(t, err, ErrProtocol)
}
