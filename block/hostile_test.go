package block

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

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

// Whatever a sender writes, Receive returns, and no incomplete file gets a
// final name.
func FuzzReceive(f *testing.F) {
	honest := [][]byte{}
	for _, content := range []string{"", "hello"} {
		honest = append(honest, script(content))
	}
	for _, b := range honest {
		f.Add(b)
		for n := 0; n < len(b); n += 7 {
			f.Add(b[:n])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			root, err := os.OpenRoot(t.TempDir())
			require.NoError(t, err)
			defer root.Close()
			go func() {
				defer there.Close()
				go func() {
					for p := make([]byte, 512); ; {
						if _, err := there.Read(p); err != nil {
							return
						}
					}
				}()
				there.Write(b)
			}()
			Receive(context.Background(), here, nil, root, ReceiveOptions{})
			here.Close()
		})
	})
}
