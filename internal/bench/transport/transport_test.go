package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/relay"
	"github.com/sdp2p/p2p/internal/bench/report"
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

// Neither side of quic-go accepts a wrong peer.
func TestRawRefuses(t *testing.T) {
	l, err := newRawListener()
	require.NoError(t, err)
	defer l.close()
	ctx, cancel := within(t.Context())
	defer cancel()
	stranger, err := newCertificate()
	require.NoError(t, err)
	for _, c := range []*tls.Config{tlsConfig(stranger, l.own), tlsConfig(l.client, stranger)} {
		d, err := l.dialer(ctx, l.addr())
		require.NoError(t, err)
		defer d.close()
		require.NoError(t, exchange(ctx, d))
		d, err = l.dialer(ctx, l.addr())
		require.NoError(t, err)
		defer d.close()
		d.(*rawDialer).tls = c
		require.Error(t, exchange(ctx, d))
	}
}

// A host that claims to be another one is not served.
func TestAncestorRefuses(t *testing.T) {
	a, err := newHost(false)
	require.NoError(t, err)
	defer a.Close()
	b, err := newHost(false)
	require.NoError(t, err)
	defer b.Close()
	here, there := net.Pipe()
	go introduce(here, a.ID())
	require.ErrorIs(t, welcome(there, b.ID()), errPeer)
	here.Close()
}

// Streams that fail are counted, and if all must work, one that fails is an
// error.
func TestRefused(t *testing.T) {
	all, end, err := links(t.Context(), 0, ours())
	require.NoError(t, err)
	defer end()
	require.Zero(t, refusedOf(t.Context(), all[0].dialer, 3))
	for _, n := range []int{1, openers, 2*openers + 1} {
		_, err = exchanges(t.Context(), all[0].dialer, n)
		require.NoError(t, err)
	}
	require.Equal(t, 3, refusedOf(t.Context(), fake{""}, 3))
	_, err = exchanges(t.Context(), fake{""}, 1)
	require.Error(t, err)
}

// A quick comparison yields a value for each of its rows.
func TestCompare(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	table, err := Compare(t.Context(), true)
	require.NoError(t, err)
	for _, row := range table.Rows {
		require.Len(t, row, len(report.Columns))
		if !strings.HasPrefix(row[0], "program") {
			require.NotContains(t, row[3], report.NotMeasured, row[0])
		}
	}
}

// A stream allocates no more than it does today, at both ends together, which
// is less than a host of go-libp2p.
func TestAllocations(t *testing.T) {
	all, end, err := links(t.Context(), 0, ours(), hosts())
	require.NoError(t, err)
	defer end()
	least := func(l *link) float64 {
		n := 1e9
		for range 5 { // other goroutines' allocations count, too
			n = min(n, testing.AllocsPerRun(200, func() {
				if err := exchange(t.Context(), l.dialer); err != nil {
					t.Error(err)
				}
			}))
		}
		return n
	}
	require.LessOrEqual(t, least(all[0]), 92.0)
	require.Less(t, least(all[0]), least(all[1]))
}
