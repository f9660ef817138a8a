package block

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

// The highest kind and verdict that sides built before hints know.
const (
	lastKindBefore    = kindHole
	lastVerdictBefore = verdictPart
)

// before reads a message like a side built before hints. If it is an answer, it
// reads the verdicts of the given number of entries.
func before(t require.TestingT, r io.Reader, entries int) (m message, wishes []wish, err error) {
	d := proto.NewDecoder(r)
	if err := m.DecodeFrom(d); err != nil {
		return m, nil, err
	}
	require.LessOrEqual(t, m.kind, lastKindBefore)
	for range entries {
		if m.kind != kindAnswer {
			break
		}
		var w wish
		require.NoError(t, w.decode(d, math.MaxInt64, maxChunks))
		require.LessOrEqual(t, w.verdict, lastVerdictBefore)
		wishes = append(wishes, w)
	}
	return m, wishes, nil
}

// sendAsBefore sends a file like a sender built before hints, and returns the
// receiver's verdict.
func sendAsBefore(t *testing.T, dir string, e entry, content []byte, opts ReceiveOptions) (verdict, Result) {
	here, there := net.Pipe()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	v := make(chan verdict, 1)
	go func() {
		defer here.Close()
		here.Write(say(hello{[16]byte{9}}, e, kindOffered))
		for {
			m, wishes, err := before(t, here, 1)
			if err != nil {
				return
			}
			if m.kind == kindAnswer {
				if v <- wishes[0].verdict; wishes[0].verdict == verdictWhole {
					said := []any{begin(0)}
					var chunks []string
					for rest := content; len(rest) > 0; rest = rest[min(len(rest), piece):] {
						chunk := string(rest[:min(len(rest), piece)])
						said, chunks = append(said, data(chunk), chunkHash(chunk)), append(chunks, chunk)
					}
					go here.Write(say(append(said, end(chunks...), kindSent)...))
				} else {
					go here.Write(say(kindSent))
				}
			}
			if m.kind == kindDone {
				here.Write(say(kindDone))
				return
			}
		}
	}()
	result, err := Receive(t.Context(), there, nil, root, opts)
	require.NoError(t, err)
	there.Close()
	return <-v, result
}

// A sender built before hints sends a changed file as a whole, and is told
// which files are unchanged in terms that it knows.
func TestSenderBefore(t *testing.T) {
	dir := t.TempDir()
	opts := ReceiveOptions{From: "a", Trusted: true, Existing: Replace}
	content := bytes.Repeat([]byte("hello"), 100_000)
	e := file("a", int64(len(content)))
	e.seconds = 1
	v, r := sendAsBefore(t, dir, e, content, opts)
	require.Equal(t, verdictWhole, v)
	require.Equal(t, 1, r.Files)
	v, r = sendAsBefore(t, dir, e, nil, opts)
	require.Equal(t, verdictHave, v)
	require.Equal(t, 1, r.Unchanged)
	content[7], e.seconds = 'x', 2
	v, r = sendAsBefore(t, dir, e, content, opts)
	require.Equal(t, verdictWhole, v)
	require.EqualValues(t, len(content), r.Sent)
	got, err := os.ReadFile(filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
}

// A receiver built before hints gets no message that it does not know.
func TestReceiverBefore(t *testing.T) {
	content := bytes.Repeat([]byte("hello"), 100_000)
	here, there := net.Pipe()
	heard := make(chan []byte, 1)
	sources := []Source{{Name: "a", Reader: bytes.NewReader(content), Size: int64(len(content)), ModTime: time.Unix(1, 0)}}
	var rest []any
	for i := range 100 { // a list long enough to be packed
		sources = append(sources, Source{Name: fmt.Sprint(i, strings.Repeat("x", 200)), Reader: bytes.NewReader(nil)})
		rest = append(rest, wish{verdict: verdictNo})
	}
	go func() {
		defer there.Close()
		var h hello
		d := proto.NewDecoder(there)
		require.NoError(t, h.DecodeFrom(d))
		var all []byte
		for {
			d.Reset(there)
			var first [1]byte
			if _, err := io.ReadFull(there, first[:]); err != nil {
				break
			}
			r := io.MultiReader(bytes.NewReader(first[:]), there)
			switch k := kind(first[0]); k {
			case kindFile, kindOffered:
				var e entry
				require.NoError(t, e.DecodeFrom(proto.NewDecoder(r)))
				if k == kindOffered {
					go there.Write(say(append([]any{kindAnswer, wish{verdict: verdictWhole}}, rest...)...))
				}
				continue
			}
			m, _, err := before(t, r, 0)
			require.NoError(t, err)
			if m.kind == kindData {
				b := make([]byte, m.size)
				_, err := io.ReadFull(there, b)
				require.NoError(t, err)
				all = append(all, b...)
			}
			if m.kind == kindSent {
				go there.Write(say(kindDone))
			}
			if m.kind == kindDone {
				break
			}
		}
		heard <- all
	}()
	_, err := Send(t.Context(), here, sources, SendOptions{})
	require.NoError(t, err)
	here.Close()
	require.True(t, bytes.Equal(content, <-heard))
}
