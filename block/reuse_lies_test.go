package block

import (
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

// offered reads a sender's offer, and returns the decoder for the messages that
// follow.
func offered(t *testing.T, from net.Conn) *proto.Decoder {
	t.Helper()
	d := proto.NewDecoder(from)
	require.NoError(t, new(hello).DecodeFrom(d))
	for d.Err() == nil {
		d.Reset(from)
		var e entry
		if err := e.DecodeFrom(d); err != nil || e.kind == kindOffered {
			break
		}
	}
	return d
}

// A file has changed, and some of its chunks are corrupted on the way; a
// referee is at each end.
func TestReuseOrder(t *testing.T) {
	dir, from := t.TempDir(), filepath.Join(t.TempDir(), "top")
	require.NoError(t, os.Mkdir(from, 0o700))
	content := append([]byte(nil), noise[:piece]...)
	for range 3 {
		content = append(content, content...)
	}
	opts := ReceiveOptions{Trusted: true, Existing: Replace}
	for round := range 4 {
		for i := round; i < len(content); i += 3*piece/2 + 5 {
			content[i]++
		}
		for i, name := range []string{"a", "b"} {
			require.NoError(t, os.WriteFile(filepath.Join(from, name), content[i:], 0o600))
			require.NoError(t, os.Chtimes(filepath.Join(from, name), time.Time{}, time.Unix(int64(round), 0)))
		}
		synctest.Test(t, func(t *testing.T) {
			m := play(t, dir, Paths(from), 0, opts, func(m *match) {
				spoil(m, 1, 1, 2, 7)
				m.there.writes = &pace{fixed: 15 * time.Millisecond}
			})
			require.NoError(t, m.sendErr)
			require.NoError(t, m.err)
			require.Equal(t, 2, m.received.Files)
			if round > 0 {
				require.Positive(t, m.received.Reused)
				require.Equal(t, m.received.Reused, m.sent.Reused)
				require.Equal(t, m.received.Sent, m.sent.Sent)
				require.Equal(t, 2, m.there.referee.seen["sender sending 17"])
				require.Equal(t, 2, m.there.referee.seen["receiver taking 18"])
				require.Positive(t, m.there.referee.seen["sender chunk 19"]+m.there.referee.seen["sender file 19"])
				require.Positive(t, m.received.Repaired)
			}
		})
		for i, name := range []string{"a", "b"} {
			got, err := os.ReadFile(filepath.Join(dir, "top", name))
			require.NoError(t, err)
			require.True(t, string(content[i:]) == string(got))
		}
	}
}

// hashesOf returns a sender's message with the hashes of n chunks.
func hashesOf(entry uint16, n int) message {
	return message{kind: kindHashes, entry: entry, hashes: make([]hash, n)}
}

// A sender's hashes that were not asked for, or that do not match the file,
// abort the transfer.
func TestHashesLies(t *testing.T) {
	old := func(n uint32) message { return message{kind: kindOld, size: n} }
	for name, said := range map[string][]any{
		"not asked":              {message{kind: kindFailed}, hashesOf(1, 3)},
		"too few":                {hashesOf(0, 2)},
		"too many":               {hashesOf(0, 4)},
		"no such entry":          {hashesOf(7, 3)},
		"twice":                  {hashesOf(0, 3), hashesOf(0, 3)},
		"old without hashes":     {begin(0), old(5)},
		"old of a chunk to come": {hashesOf(0, 3), old(5)},
		"an end at once":         {hashesOf(0, 3), end()},
		"a begin behind it":      {hashesOf(0, 3), begin(0)},
		"sent behind it":         {hashesOf(0, 3), kindSent},
		"old before all":         {old(5)},
	} {
		dir := t.TempDir()
		opts := ReceiveOptions{From: "a", Trusted: true}
		e := file("a", 5)
		e.seconds = 1
		_, _ = sendAsBefore(t, dir, e, []byte("hello"), opts)
		e.size, e.stored = 2*piece+1, 2*piece+1
		other := file("b", 2*piece+1)
		here, there := net.Pipe()
		root, err := os.OpenRoot(dir)
		require.NoError(t, err)
		go func() {
			defer here.Close()
			go here.Write(say(append([]any{hello{}, e, other, kindOffered}, said...)...))
			d := proto.NewDecoder(here)
			for d.Err() == nil {
				var m message
				if d.Reset(here); m.DecodeFrom(d) == nil && m.kind == kindAnswer {
					for range 2 {
						new(wish).decode(d, math.MaxInt64, 0)
					}
				}
				if m.kind == kindAbort {
					require.Equal(t, codeOf(ErrProtocol), m.code, name)
					return
				}
			}
		}()
		_, err = Receive(t.Context(), there, nil, root, opts)
		require.ErrorIs(t, err, ErrProtocol, name)
		there.Close()
		root.Close()
	}
}

// A receiver's claims about hashes that it was not told, or that do not match
// the file, abort the transfer; so do hints about an offer that was already
// answered.
func TestClaimsLies(t *testing.T) {
	content := noise[:piece]
	whole := wish{verdict: verdictWhole}
	claims := func(entry uint16, pieces int, states ...chunkState) message {
		return message{kind: kindClaims, entry: entry, states: states, pieces: make([]uint64, pieces)}
	}
	changed := hintChanged.say(0, 0)
	for name, said := range map[string][2][]any{ // along with the answer, and after the hashes
		"not told":           {{whole, claims(0, 0, 1, 1)}, nil},
		"another entry":      {{whole}, {claims(1, 0, 1, 1)}},
		"too few":            {{whole}, {claims(0, 0, 1)}},
		"too many":           {{whole}, {claims(0, 0, 1, 1, 1)}},
		"pieces of nothing":  {{whole}, {claims(0, 1, 1, 1)}},
		"too few pieces":     {{whole}, {claims(0, 15, 2, 1)}},
		"twice":              {{whole}, {claims(0, 0, 0, 0), claims(0, 0, 0, 0)}},
		"hint behind answer": {{whole, changed}, nil},
		"unchanged likewise": {{whole, hintUnchanged.say(0, 0)}, nil},
	} {
		here, there := net.Pipe()
		var both sync.WaitGroup
		both.Go(func() {
			defer there.Close()
			d := offered(t, there)
			hints := []any{changed, kindAnswer}
			if name == "not told" {
				hints = hints[1:] // or the sender may send hashes before the claims arrive
			}
			go there.Write(say(append(hints, said[0]...)...))
			for d.Err() == nil {
				d.Reset(there)
				var m message
				if m.DecodeFrom(d) == nil && m.kind == kindHashes {
					go there.Write(say(said[1]...))
				}
				if m.kind == kindData {
					io.CopyN(io.Discard, there, int64(m.size))
				}
				if m.kind == kindAbort {
					require.Equal(t, codeOf(ErrProtocol), m.code, name)
					return
				}
			}
		})
		source := Source{Name: "a", Reader: readerAt(append(content, 1)), Size: piece + 1, ModTime: time.Unix(1, 0)}
		_, err := Send(t.Context(), here, []Source{source}, SendOptions{})
		require.ErrorIs(t, err, ErrProtocol, name)
		here.Close()
		both.Wait()
	}
}

// A receiver names unchanged entries in rising order: looking one up costs the
// same however many messages there were.
func TestUnchangedInOrder(t *testing.T) {
	says := func(stretches ...stretch) (l *lot, err error) {
		s := &sender{}
		l = newLot(0, 0)
		l.offered.Store(true)
		for _, u := range stretches {
			if err = s.hint(l, hintUnchanged.say(uint32(u.last)<<16|uint32(u.first), 0).received); err != nil {
				break
			}
		}
		return l, err
	}
	l, err := says(stretch{0, 0}, stretch{2, 5}, stretch{6, 6}, stretch{9, 0xffff})
	require.NoError(t, err)
	for index, want := range map[int]bool{0: true, 1: false, 2: true, 4: true, 5: true, 6: true, 7: false, 8: false, 9: true, 0xffff: true} {
		require.Equal(t, want, l.isUnchanged(index), index)
	}
	for _, lies := range [][]stretch{{{5, 4}}, {{0, 5}, {0, 5}}, {{0, 5}, {5, 6}}, {{7, 8}, {1, 2}}} {
		_, err := says(lies...)
		require.ErrorIs(t, err, ErrProtocol, lies)
	}
}

type readerAt []byte

func (r readerAt) ReadAt(b []byte, at int64) (int, error) { return copy(b, r[at:]), nil }

// A receiver gives up a file whose hashes it was told, and then claims chunks
// of it, or the other way around: this does not claim chunks of the next file.
func TestClaimsOfGivenUp(t *testing.T) {
	failed := message{kind: kindFailed, entry: 0, code: codeOf(ErrWrite)}
	claims := func(entry uint16, n int) message {
		return message{kind: kindClaims, entry: entry, states: make([]chunkState, n)}
	}
	for name, said := range map[string][]any{
		"failed first": {failed, claims(0, 9)},
		"claims first": {claims(0, 9), failed},
	} {
		here, there := net.Pipe()
		var both sync.WaitGroup
		both.Go(func() {
			defer there.Close()
			d := offered(t, there)
			whole := wish{verdict: verdictWhole}
			go there.Write(say(hintChanged.say(0, 0), hintChanged.say(1, 0), kindAnswer, whole, whole))
			for d.Err() == nil {
				d.Reset(there)
				var m message
				if m.DecodeFrom(d) != nil {
					return
				}
				switch {
				case m.kind == kindHashes && m.entry == 0:
					_, _ = there.Write(say(said...))
				case m.kind == kindHashes:
					_, _ = there.Write(say(claims(1, 2)))
				case m.kind == kindData:
					_, _ = io.CopyN(io.Discard, there, int64(m.size))
				case m.kind == kindSent:
					_, _ = there.Write(say(kindDone))
				case m.kind == kindDone, m.kind == kindAbort:
					return
				}
			}
		})
		sources := []Source{
			{Name: "a", Reader: readerAt(make([]byte, 9*piece)), Size: 9 * piece, ModTime: time.Unix(1, 0)},
			{Name: "b", Reader: readerAt(make([]byte, 2*piece)), Size: 2 * piece, ModTime: time.Unix(1, 0)},
		}
		r, err := Send(t.Context(), here, sources, SendOptions{})
		require.ErrorIs(t, err, ErrIncomplete, name)
		require.Equal(t, 1, r.Files, name)
		here.Close()
		both.Wait()
	}
}
