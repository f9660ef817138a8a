package tunnel

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// established returns a tunnel whose other end is the reference, as the
// initiator or the responder.
func established(t *testing.T, w *world, responder bool) (c *Conn, mine, theirs *end, out, in *refDirection) {
	a, b := link(1 << 18)
	if responder {
		done := w.accept(t.Context(), w.accepting(b))
		out, in = w.dial(t, a)
		_, err := a.Write(out.seal(1, nil))
		require.NoError(t, err)
		o := <-done
		require.NoError(t, o.err)
		return o.c, b, a, out, in
	}
	done := w.initiateWith(t.Context(), w.session(a))
	in, out = w.answer(t, b)
	o := <-done
	require.NoError(t, o.err)
	require.NoError(t, o.c.confirmNow())
	typ, _ := in.receive(t, b)
	require.EqualValues(t, 1, typ)
	return o.c, a, b, out, in
}

// bothWays runs a test with the tunnel on either side.
func bothWays(t *testing.T, f func(t *testing.T, c *Conn, mine, theirs *end, out, in *refDirection)) {
	for _, responder := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, mine, theirs, out, in := established(t, newWorld(t), responder)
			f(t, c, mine, theirs, out, in)
			c.Abort(io.EOF)
		})
	}
}

// fatal requires that reads return exactly good and then fail with err, that
// all later calls fail with it, and that the stream is reset, once.
func fatal(t *testing.T, c *Conn, mine *end, good string, err error, note ...any) {
	t.Helper()
	b, first := io.ReadAll(c)
	require.Equal(t, good, string(b), note...)
	require.ErrorIs(t, first, err, note...)
	require.NotErrorIs(t, first, net.ErrClosed, note...)
	if err == ErrTruncated {
		require.ErrorIs(t, first, io.ErrUnexpectedEOF, note...)
	}
	for range 2 {
		n, again := c.Read(make([]byte, 10))
		require.Zero(t, n)
		require.Equal(t, first, again, note...)
		n, again = c.Write([]byte("hello"))
		require.Zero(t, n)
		require.Equal(t, first, again, note...)
		require.Equal(t, first, c.CloseWrite(), note...)
		require.Equal(t, first, c.SetReadDeadline(testTime), note...)
		require.Equal(t, first, c.SetWriteDeadline(testTime), note...)
		require.NoError(t, c.Close(), note...)
		c.Abort(errors.New("another"))
	}
	<-c.Done()
	require.EqualValues(t, 1, mine.resets.Load(), note...)
	require.Zero(t, mine.closes.Load(), note...)
}

var data = []byte("hello")

// Any bytes from a peer that are not a valid record at their place end the
// tunnel, and none of them is returned.
func TestBadRecords(t *testing.T) {
	header := func(typ byte, size int, body int) []byte {
		return append([]byte{typ, byte(size >> 8), byte(size)}, make([]byte, body)...)
	}
	for _, r := range []struct {
		name string
		send func(out, in *refDirection) []byte
		good string
		err  error
	}{
		{"second confirmation, confirmation by the responder", func(out, _ *refDirection) []byte { return out.seal(1, nil) }, "", ErrProtocol},
		{"confirmation after data", func(out, _ *refDirection) []byte { return append(out.seal(0, data), out.seal(1, nil)...) }, "hello", ErrProtocol},
		{"empty data", func(out, _ *refDirection) []byte { return out.seal(0, nil) }, "", ErrRecordSize},
		{"data of length 0", func(*refDirection, *refDirection) []byte { return header(0, 0, 0) }, "", ErrRecordSize},
		{"data of length 15", func(*refDirection, *refDirection) []byte { return header(0, 15, 15) }, "", ErrRecordSize},
		{"data of length 32785", func(out, _ *refDirection) []byte { return out.seal(0, make([]byte, 32769)) }, "", ErrRecordSize},
		{"data of length 65535", func(out, _ *refDirection) []byte { return out.seal(0, make([]byte, 65535-16)) }, "", ErrRecordSize},
		{"close of length 0", func(*refDirection, *refDirection) []byte { return header(2, 0, 0) }, "", ErrRecordSize},
		{"close of length 15", func(*refDirection, *refDirection) []byte { return header(2, 15, 15) }, "", ErrRecordSize},
		{"close with data", func(out, _ *refDirection) []byte { return out.seal(2, data) }, "", ErrRecordSize},
		{"confirmation with data", func(out, _ *refDirection) []byte { return out.seal(1, data) }, "", ErrRecordSize},
		{"type 3", func(out, _ *refDirection) []byte { return out.seal(3, data) }, "", ErrProtocol},
		{"type 255", func(out, _ *refDirection) []byte { return out.seal(255, data) }, "", ErrProtocol},
		{"type 3, length 0", func(*refDirection, *refDirection) []byte { return header(3, 0, 0) }, "", ErrProtocol},
		{"forged close", func(*refDirection, *refDirection) []byte { return header(2, 16, 16) }, "", ErrRecordAuth},
		{"no associated data", func(out, _ *refDirection) []byte {
			seal, _ := aead(out.aead, out.next())
			return append(header(0, 21, 0), seal(nil, data)...)
		}, "", ErrRecordAuth},
		{"a type for associated data", func(out, _ *refDirection) []byte {
			seal, _ := aead(out.aead, out.next())
			return append(header(0, 21, 0), seal([]byte{0}, data)...)
		}, "", ErrRecordAuth},
		{"close as data", func(out, _ *refDirection) []byte { b := out.seal(0, data); b[0] = 2; return b }, "", ErrRecordSize},
		{"confirmation as close", func(out, _ *refDirection) []byte { b := out.seal(1, nil); b[0] = 2; return b }, "", ErrRecordAuth},
		{"replayed", func(out, _ *refDirection) []byte { return slices.Repeat(out.seal(0, data), 2) }, "hello", ErrRecordAuth},
		{"dropped", func(out, _ *refDirection) []byte { out.seal(0, data); return out.seal(0, data) }, "", ErrRecordAuth},
		{"dropped before the end", func(out, _ *refDirection) []byte {
			first := out.seal(0, data)
			out.seal(0, data)
			return append(first, out.seal(2, nil)...)
		}, "hello", ErrRecordAuth},
		{"reordered", func(out, _ *refDirection) []byte {
			first := out.seal(0, data)
			return append(out.seal(0, data), first...)
		}, "", ErrRecordAuth},
		{"sealed for the other direction", func(out, in *refDirection) []byte { in.n = out.n; return in.seal(0, data) }, "", ErrRecordAuth},
		{"the first message", func(*refDirection, *refDirection) []byte { return newWorld(t).m1(t) }, "", ErrProtocol},
		{"bytes after the end", func(out, _ *refDirection) []byte { return append(append(out.seal(0, data), out.seal(2, nil)...), 0) }, "hello", ErrTrailing},
		{"a record after the end", func(out, _ *refDirection) []byte { return append(out.seal(2, nil), out.seal(0, data)...) }, "", ErrTrailing},
		{"no end", func(out, _ *refDirection) []byte { return out.seal(0, data) }, "hello", ErrTruncated},
		{"nothing", func(out, _ *refDirection) []byte { return nil }, "", ErrTruncated},
	} {
		t.Run(r.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, c *Conn, mine, theirs *end, out, in *refDirection) {
				theirs.Write(r.send(out, in))
				theirs.CloseWrite()
				fatal(t, c, mine, r.good, r.err)
			})
		})
	}
}

// A tunnel rejects its own records.
func TestReflectedRecords(t *testing.T) {
	bothWays(t, func(t *testing.T, c *Conn, mine, theirs *end, _, _ *refDirection) {
		_, err := c.Write(data)
		require.NoError(t, err)
		b := make([]byte, 3+5+16)
		_, err = io.ReadFull(theirs, b)
		require.NoError(t, err)
		theirs.Write(b)
		fatal(t, c, mine, "", ErrRecordAuth)
	})
}

// A flipped bit anywhere in a record is detected: in data, in the end, and in
// their headers.
func TestFlipRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _, out, _ := established(t, newWorld(t), true)
		c.Abort(io.EOF)
		for _, typ := range []byte{typeData, typeClose} {
			plain := data
			if typ == typeClose {
				plain = nil
			}
			n := out.n
			record := out.seal(typ, plain)
			for bit := range len(record) * 8 {
				in := newSealer(c.in.state)
				in.n = n
				r, a, b := reader(1<<10, in)
				a.Write(flip(record, bit))
				a.CloseWrite()
				got, err := io.ReadAll(r)
				require.Error(t, err, bit)
				require.Empty(t, got, bit)
				if bit/8 >= 3 {
					require.ErrorIs(t, err, ErrRecordAuth, bit)
				}
				require.EqualValues(t, 1, b.resets.Load(), bit)
			}
		}
	})
}

// If a stream ends or breaks anywhere before the end of CLOSE, the tunnel is
// truncated, and does not look as if it had ended.
func TestTruncation(t *testing.T) {
	for _, reset := range []bool{false, true} {
		bothWays(t, func(t *testing.T, c *Conn, _, _ *end, out, _ *refDirection) {
			n := out.n
			all := slices.Concat(out.seal(0, data), out.seal(0, data), out.seal(2, nil))
			for k := range len(all) + 1 {
				in := newSealer(c.in.state)
				in.n = n
				r, a, b := reader(1<<10, in)
				a.Write(all[:k])
				got := make([]byte, 5)
				for range k / 24 {
					if k >= 24 && k != len(all) {
						_, err := io.ReadFull(r, got)
						require.NoError(t, err, k)
						require.Equal(t, data, got)
					}
				}
				if reset {
					a.Reset()
				} else {
					a.CloseWrite()
				}
				switch {
				case k < len(all):
					rest, err := io.ReadAll(r)
					require.Empty(t, rest, k)
					require.ErrorIs(t, err, ErrTruncated, k)
					require.ErrorIs(t, err, io.ErrUnexpectedEOF, k)
					require.NotErrorIs(t, err, io.EOF, k)
				case !reset:
					rest, err := io.ReadAll(r)
					require.NoError(t, err)
					require.Equal(t, "hellohello", string(rest))
					for range 2 {
						_, err = r.Read(got)
						require.Equal(t, io.EOF, err)
					}
					require.Zero(t, b.resets.Load())
				}
				r.Abort(io.EOF)
			}
		})
	}
}

// A handshake that is cut off anywhere fails on both sides.
func TestTruncatedHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for k := range 98 + 19 {
			a, b := link(1 << 10)
			done := w.accept(t.Context(), w.accepting(b))
			if k < 98 {
				a.Write(w.m1(t)[:k])
			} else {
				out, _ := w.dial(t, a)
				a.Write(out.seal(1, nil)[:k-98])
			}
			a.CloseWrite()
			o := <-done
			o.failed(t, b, ErrHandshake, k)
			require.ErrorIs(t, o.err, io.ErrUnexpectedEOF, k)
		}
		for k := range 48 {
			a, b := link(1 << 10)
			b.Write(make([]byte, k))
			b.CloseWrite()
			o := <-w.initiateWith(t.Context(), w.session(a))
			o.failed(t, a, ErrHandshake, k)
			require.ErrorIs(t, o.err, io.ErrUnexpectedEOF, k)
		}
	})
}

// The keys change before record 32768, neither earlier nor later, and the nonce
// goes on.
func TestRekey(t *testing.T) {
	for name, off := range map[string]struct {
		every, n uint64
		err      error
	}{
		"as it should be": {32768, 0, nil},
		"one early":       {32767, 0, ErrRecordAuth},
		"one late":        {32769, 0, ErrRecordAuth},
		"never":           {1 << 40, 0, ErrRecordAuth},
		"nonce from 0":    {32768, 32768, ErrRecordAuth},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, c *Conn, mine, theirs *end, out, in *refDirection) {
				for _, n := range []*uint64{&out.n, &in.n, &c.in.n, &c.out.n} {
					*n = 32766
				}
				out.every = off.every
				for i := range 6 {
					if out.n == 32768 && off.n > 0 {
						out.next()
						out.n = 0
					}
					theirs.Write(out.seal(0, data))
					got := make([]byte, 5)
					_, err := io.ReadFull(c, got)
					if err != nil && off.err != nil {
						require.GreaterOrEqual(t, i, 1)
						require.LessOrEqual(t, i, 2)
						require.Equal(t, off.err, err)
						return
					}
					require.NoError(t, err)
					_, err = c.Write(got)
					require.NoError(t, err)
					in.receive(t, theirs)
				}
				require.NoError(t, off.err)
			})
		})
	}
}
