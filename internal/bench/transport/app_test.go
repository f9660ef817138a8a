package transport

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/relay"
)

func all() []transport {
	return []transport{ours(), unknown(), routed(), raw(), hosts(), limited(), ancestor()}
}

// Each contender moves all bytes, and reports their number.
func TestTransports(t *testing.T) {
	for _, tr := range all() {
		t.Run(tr.name, func(t *testing.T) {
			ctx, cancel := within(t.Context())
			defer cancel()
			l, err := newLink(ctx, tr, time.Microsecond)
			require.NoError(t, err)
			defer l.close()
			d := l.dialer
			for range 3 {
				require.NoError(t, exchange(ctx, d))
			}
			s, err := openBulk(ctx, d)
			require.NoError(t, err)
			defer s.Close()
			before := l.proxy.Passed(relay.Server)
			const size = 2*chunk + 1
			for range 2 {
				require.NoError(t, s.send(size))
			}
			require.Greater(t, l.proxy.Passed(relay.Server)-before, int64(2*size))
		})
	}
}

func TestServe(t *testing.T) {
	serveWith := func(sent string) (string, error) {
		var got bytes.Buffer
		err := serve(struct {
			io.Reader
			io.Writer
		}{bytes.NewBufferString(sent), &got})
		return got.String(), err
	}
	got, err := serveWith("a")
	require.NoError(t, err)
	require.Equal(t, "a", got)
	_, err = serveWith("ab")
	require.ErrorContains(t, err, "more than a byte")
	_, err = serveWith("")
	require.Equal(t, io.EOF, err)
	got, err = serveWith("\x00\x03\x00\x00\x00\x00\x00\x00\x00abc\x00\x00\x00\x00\x00\x00\x00\x00")
	require.NoError(t, err)
	require.Equal(t, "\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", got)
	_, err = serveWith("\x00\x03\x00\x00\x00\x00\x00\x00\x00ab")
	require.Equal(t, io.EOF, err)
	_, err = serveWith("\x00\x03")
	require.Equal(t, io.ErrUnexpectedEOF, err)
}

// An exchange and a message accept only the right answer.
func TestAnswers(t *testing.T) {
	for answer, want := range map[string]string{
		"":     "read: EOF",
		"\x00": "back",
	} {
		err := exchange(t.Context(), fake{answer})
		require.ErrorContains(t, err, want)
	}
	b, err := openBulk(t.Context(), fake{"\x02\x00\x00\x00\x00\x00\x00\x00"})
	require.NoError(t, err)
	require.ErrorContains(t, b.send(3), "3 bytes were sent and 2 read")
}

// A fake dialer opens streams whose answer is the same whatever is sent.
type fake struct{ answer string }

func (f fake) open(context.Context) (stream, error) {
	return fakeStream{bytes.NewBufferString(f.answer)}, nil
}
func (fake) close() {}

type fakeStream struct{ io.Reader }

func (fakeStream) Write(b []byte) (int, error) { return len(b), nil }
func (fakeStream) CloseWrite() error           { return nil }
func (fakeStream) Close() error                { return nil }
