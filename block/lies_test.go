package block

import (
	"bufio"
	"context"
	"io"
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
	for _, m := range messages {
		switch m := m.(type) {
		case string:
			b = append(b, m...)
		case kind:
			if m == kindOffered {
				b = append(b, byte(m))
				continue
			}
			b, _ = (&message{kind: m}).AppendBinary(b)
		case entry:
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
	return entry{kind: kindFile, path: name, mode: 0o644, size: size, id: [16]byte(sum[:16])}
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

// script is what an honest sender of one small file says.
func script(content string) []byte {
	all := []any{hello{}, file("a", int64(len(content))), kindOffered, begin(0)}
	if content != "" {
		all = append(all, data(content), chunkHash(content), end(content))
	} else {
		all = append(all, end())
	}
	return say(append(all, kindSent, kindDone)...)
}

// hear gives bytes to a Receive that answers for so many entries, and returns what it returned and what is in the
// destination. If answers is negative, the stream ends behind the bytes.
func hear(t *testing.T, b []byte, answers int) (Result, []string, error) {
	here, there := net.Pipe()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	go func() { // the other side hears us out
		defer there.Close()
		d := proto.NewDecoder(there)
		for {
			var m message
			if m.DecodeFrom(d); m.kind == kindAnswer {
				for range answers {
					new(wish).decode(d, math.MaxInt64, 0)
				}
			}
			if d.Err() != nil || m.kind == kindAbort || m.kind == kindDone {
				return
			}
			d.Reset(there)
		}
	}()
	go func() {
		there.Write(b)
		if answers < 0 {
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
			require.Equal(t, "hello", string(content))
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

// A small file may come in pieces, and empty ones behind it.
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

// Whatever a sender says, nothing appears that was not offered, verified and whole.
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
			answers := strings.Count(string(b), "\xA4\x01") + strings.Count(string(b), "\xED\x01") // modes: one for each entry
			_, names, err := hear(t, b, answers)
			want := ErrProtocol
			if name == "another root" {
				want = ErrCorrupt
			}
			require.ErrorIs(t, err, want)
			for _, n := range names { // of two, the first was whole
				require.Equal(t, "a", n)
				require.Contains(t, []string{"twice"}, name)
			}
		})
	}
	for n := range len(good) - 1 {
		_, names, err := hear(t, good[:n], -1)
		require.ErrorIs(t, err, errStream, n)
		require.Empty(t, names, n)
	}
	_, names, err := hear(t, good[:len(good)-1], 1) // all but the sender's last word
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, names)
	_, _, err = hear(t, []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), 0)
	require.ErrorIs(t, err, ErrVersion)
}

// An offer is bounded before anybody is asked.
func TestOfferTooLarge(t *testing.T) {
	b := say(hello{})
	for range MaxEntries + 1 {
		b = append(b, say(folder("a"))...)
	}
	_, _, err := hear(t, b, 0)
	require.ErrorIs(t, err, ErrProtocol)
	b = say(hello{})
	long := say(folder(strings.Repeat("x", maxPath)))
	for range MaxOffer/len(long) + 1 {
		b = append(b, long...)
	}
	_, _, err = hear(t, b, 0)
	require.ErrorIs(t, err, ErrProtocol)
}

// answerLies are what a receiver must not say to a sender that has offered a file of 5 bytes.
func TestAnswerLies(t *testing.T) {
	yes := wish{verdict: verdictWhole}
	for name, b := range map[string][]byte{
		"before the answer":  say(message{kind: kindProgress}),
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
			t.Parallel()
			answerLie(t, b)
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
	require.ErrorIs(t, err, ErrProtocol)
	here.Close()
	there.Close()
}

// The journal of another time is never a danger.
func FuzzJournal(f *testing.F) {
	seed := func(change func(j *journal)) []byte {
		dir, err := os.OpenRoot(f.TempDir())
		require.NoError(f, err)
		defer dir.Close()
		j, err := openJournal(dir, &hash{1})
		require.NoError(f, err)
		defer j.close(true)
		change(j)
		b, err := os.ReadFile(filepath.Join(dir.Name(), j.name+journalEnd))
		require.NoError(f, err)
		return b
	}
	f.Add([]byte{})
	f.Add(seed(func(*journal) {}))
	f.Add(seed(func(j *journal) {
		e := file("a", 1<<20)
		j.top("top", "top (2)")
		n, _ := j.begin(&e)
		j.chunk(n, 0, hash{1})
		j.chunk(n, 70000, hash{1})
		j.chunk(n, 65535, hash{1})
		j.place(place{number: n, entry: e, path: "top (2)/a"})
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		root, err := os.OpenRoot(t.TempDir())
		require.NoError(t, err)
		defer root.Close()
		require.NoError(t, root.WriteFile("x"+journalEnd, b, 0o600))
		j, err := openJournal(root, &hash{1})
		require.NoError(t, err)
		e := file("a", 1<<20)
		require.False(t, placed(t, j, root, &e))
		_, claims, err := j.claims(context.Background(), &e, maxChunks)
		require.NoError(t, err)
		require.Empty(t, claims)
		j.close(true)
	})
}

// A file of somebody else's that lies where ours was to get is not ours, also when our data is not there any more: it may
// have come before that or after, and the offer may have had no such file meanwhile.
func TestNotOurs(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, asked := range []bool{false, true} {
			root, err := os.OpenRoot(t.TempDir())
			require.NoError(t, err)
			defer root.Close()
			e := file("a", 4)
			j, err := openJournal(root, &hash{1})
			require.NoError(t, err)
			number := j.number()
			require.NoError(t, j.place(place{number: number, entry: e, path: "a"}))
			require.NoError(t, root.WriteFile(j.data(number), []byte("ours"), 0o600))
			j.close(false)
			for i := range 3 {
				if late == (i > 0) {
					require.NoError(t, root.WriteFile("a", []byte("else"), 0o600))
				}
				j, err = openJournal(root, &hash{1})
				require.NoError(t, err)
				if asked || i == 2 {
					require.False(t, placed(t, j, root, &e))
				}
				require.NoError(t, j.settle(t.Context(), root, nil))
				_, err = root.Lstat(j.data(number))
				require.ErrorIs(t, err, fs.ErrNotExist)
				j.close(false)
			}
		}
	}
}

// A file that has its name and its number is not gone on with, also where the file system does not tell of second names.
func TestAbandoned(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	j, err := openJournal(root, &hash{1})
	require.NoError(t, err)
	e := file("a", 1<<20)
	n, err := j.begin(&e)
	require.NoError(t, err)
	require.NoError(t, j.chunk(n, 0, hash{1}))
	require.NoError(t, j.place(place{number: n, entry: e, path: "a"}))
	require.NoError(t, root.WriteFile("a", make([]byte, 1<<20), 0o600))
	require.NoError(t, root.Link("a", j.data(n)))
	j.close(false)
	j, err = openJournal(root, &hash{1})
	require.NoError(t, err)
	require.Len(t, j.begun, 1)
	e.seconds++ // it has changed
	require.False(t, placed(t, j, root, &e))
	require.Empty(t, j.begun)
	_, err = root.Lstat(j.data(n))
	require.ErrorIs(t, err, fs.ErrNotExist)
	j.close(true)
}

// What follows a broken record is gone, also once another record has replaced that.
func TestBrokenRecord(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	j, err := openJournal(root, &hash{1})
	require.NoError(t, err)
	large, e := file("large", 1<<20), file("a", 4)
	n, err := j.begin(&large)
	require.NoError(t, err)
	broken := j.size
	require.NoError(t, j.chunk(n, 0, hash{1}))
	require.NoError(t, j.place(place{number: j.number(), entry: e, path: "a"}))
	_, err = j.file.WriteAt([]byte{0xFF}, broken+5) // its page did not get to the disk, that of the next record did
	require.NoError(t, err)
	j.close(false)
	for range 2 {
		j, err = openJournal(root, &hash{1})
		require.NoError(t, err)
		require.Empty(t, j.places)
		require.NoError(t, j.chunk(n, 0, hash{2}))
		j.close(false)
	}
}

// A file of which the size asks for other chunks now starts over, and a chunk is claimed only if it is what was verified.
func TestClaims(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	for size, want := range map[int64]int{1 << 20: 2, 2 << 20: 2, 200_000: 1, 250 << 20: 0} {
		j, err := openJournal(root, &hash{1})
		require.NoError(t, err)
		e := file("a", 1<<20)
		n, err := j.begin(&e)
		require.NoError(t, err)
		content := make([]byte, 3*128<<10)
		require.NoError(t, root.WriteFile(j.data(n), content, 0o600))
		for i := range 2 {
			require.NoError(t, j.chunk(n, uint32(i), blake3.Sum256(content[:128<<10])))
		}
		require.NoError(t, j.chunk(n, 2, hash{2}))
		j.close(false)
		j, err = openJournal(root, &hash{1})
		require.NoError(t, err)
		other, err := openJournal(root, &hash{1}) // the first one is in use
		require.NoError(t, err)
		require.NotEqual(t, j.name, other.name)
		other.close(true)
		e.size = size
		_, claims, err := j.claims(t.Context(), &e, maxChunks)
		require.NoError(t, err)
		require.Len(t, claims, want, size)
		_, claims, err = j.claims(t.Context(), &e, maxChunks)
		require.NoError(t, err)
		require.Empty(t, claims, "twice")
		j.close(true)
	}
}

// Where there are no hard links, a place is held by an empty file, which is removed if nothing came of it.
func TestWithoutHardLinks(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	r := &receiver{transfer: newTransfer(t.Context(), nil), dest: root, opts: ReceiveOptions{From: "a"}}
	require.NoError(t, r.openJournal([16]byte{}))
	p := newPlacer(r)
	e := file("a", 5)
	f := &finished{entry: e, number: r.journal.number(), wanted: "a", path: "a"}
	data := r.journal.data(f.number)
	require.NoError(t, r.partial.WriteFile(data, []byte("hello"), 0o600))
	require.NoError(t, root.WriteFile("a", []byte("mine"), 0o600))
	require.ErrorIs(t, p.create(f, partialDir+"/"+data), fs.ErrExist)
	f.path = p.vacant(f, 2)
	require.NoError(t, p.create(f, partialDir+"/"+data))
	for name, want := range map[string]string{"a": "mine", "a (2)": "hello"} {
		got, err := root.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	r.journal.close(false)
	require.NoError(t, r.openJournal([16]byte{}))
	require.True(t, placed(t, r.journal, root, &e))
	r.journal.close(false)

	// Somebody else's empty file is not taken for one that holds a place.
	require.NoError(t, r.openJournal([16]byte{}))
	require.NoError(t, root.WriteFile("empty", nil, 0o600))
	require.NoError(t, r.partial.WriteFile(data, []byte("hello"), 0o600))
	f.path = "empty"
	require.ErrorIs(t, p.create(f, partialDir+"/"+data), fs.ErrExist)
	r.journal.close(false)
	require.NoError(t, r.openJournal([16]byte{}))
	require.False(t, placed(t, r.journal, root, &e))
	_, err = root.Stat("empty")
	require.NoError(t, err)
	r.journal.close(false)

	// Killed between the two steps.
	require.NoError(t, r.openJournal([16]byte{}))
	f.path = "b"
	require.NoError(t, p.record(f, true))
	require.NoError(t, root.WriteFile("b", nil, 0o600))
	require.NoError(t, r.partial.WriteFile(data, []byte("hello"), 0o600))
	r.journal.close(false)
	require.NoError(t, r.openJournal([16]byte{}))
	require.False(t, placed(t, r.journal, root, &e))
	_, err = root.Stat("b")
	require.ErrorIs(t, err, fs.ErrNotExist)
	r.journal.close(true)
	require.NoError(t, root.Remove(partialDir))
}
