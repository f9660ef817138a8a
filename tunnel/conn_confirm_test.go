package tunnel

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// unconfirmed runs a test with a tunnel at its initiator, right after the
// handshake; the other end is the reference.
func unconfirmed(t *testing.T, f func(t *testing.T, c *Conn, a, b *end, in, out *refDirection)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := link(1 << 16)
		a.tapped()
		done := w.initiateWith(t.Context(), w.session(a))
		in, out := w.answer(t, b)
		o := <-done
		require.NoError(t, o.err)
		require.EqualValues(t, 1, a.writes.Load(), "the first message takes one write")
		require.EqualValues(t, 98, a.bytes.Load())
		f(t, o.c, a, b, in, out)
		o.c.Abort(io.EOF)
	})
}

// The confirmation travels with the first data, or alone: at the first Read, at
// CloseWrite, at Close, or after 5 ms. It is sent once, in one write.
func TestConfirmationLeaves(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(c *Conn)
		now  []byte // the types of the records that leave at once
	}{
		{"with data", func(c *Conn) { c.Write(data) }, []byte{1, 0}},
		{"with the most data", func(c *Conn) { c.Write(make([]byte, MaxData)) }, []byte{1, 0}},
		{"with no data", func(c *Conn) { c.Write(nil) }, []byte{1}},
		{"read", func(c *Conn) { go c.Read(make([]byte, 1)) }, []byte{1}},
		{"CloseWrite", func(c *Conn) { c.CloseWrite() }, []byte{1, 2}},
		{"Close", func(c *Conn) { c.Close() }, []byte{1, 2}},
		{"later", func(*Conn) {}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			unconfirmed(t, func(t *testing.T, conn *Conn, a, b *end, in, _ *refDirection) {
				time.Sleep(4 * time.Millisecond)
				require.EqualValues(t, 1, a.writes.Load(), "too early")
				c.do(conn)
				synctest.Wait()
				expect := c.now
				if expect == nil {
					expect = []byte{1}
					require.EqualValues(t, 1, a.writes.Load(), "too early")
				} else {
					require.EqualValues(t, 2, a.writes.Load(), "too late")
				}
				time.Sleep(time.Millisecond)
				synctest.Wait()
				require.EqualValues(t, 2, a.writes.Load(), "more than one write")
				for _, typ := range expect {
					got, _ := in.receive(t, b)
					require.Equal(t, typ, got)
				}
				require.EqualValues(t, in.n, len(expect))
				time.Sleep(time.Minute)
				require.EqualValues(t, 2, a.writes.Load(), "another")
			})
		})
	}
}

// An aborted tunnel sends no confirmation any more.
func TestConfirmationAborted(t *testing.T) {
	unconfirmed(t, func(t *testing.T, c *Conn, a, b *end, _, _ *refDirection) {
		c.Abort(io.EOF)
		time.Sleep(time.Minute)
		require.EqualValues(t, 98, a.bytes.Load())
	})
}

// A write deadline does not hold back the confirmation, and with it the whole
// tunnel: a reader would not know why.
func TestConfirmationWriteDeadline(t *testing.T) {
	for name, before := range map[string]func(c *Conn){
		"passed":       func(c *Conn) { c.SetWriteDeadline(time.Unix(1, 0)) },
		"passed, 5 ms": func(c *Conn) { c.SetWriteDeadline(time.Unix(1, 0)); time.Sleep(time.Second) },
		"passed, lifted": func(c *Conn) {
			c.SetWriteDeadline(time.Unix(1, 0))
			time.Sleep(time.Second)
			c.SetWriteDeadline(time.Time{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			unconfirmed(t, func(t *testing.T, c *Conn, a, b *end, in, out *refDirection) {
				before(c)
				b.Write(out.seal(0, data)) // as if the tunnel were confirmed
				got := make([]byte, 5)
				_, err := io.ReadFull(c, got)
				require.NoError(t, err)
				require.Equal(t, data, got)
				synctest.Wait()
				require.EqualValues(t, 98+19, a.bytes.Load(), "no confirmation: the responder gives up after 10 s")
			})
		})
	}
}

// A Read during the first Write does not wait for it to end. Otherwise, two
// peers that write before they read would wait for each other, and a read
// deadline would have no effect.
func TestConfirmationReadDuringWrite(t *testing.T) {
	unconfirmed(t, func(t *testing.T, c *Conn, a, b *end, in, out *refDirection) {
		c.writing.Take() // like a Write, which also confirms
		defer c.writing.Release()
		read := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 5))
			read <- err
		}()
		synctest.Wait()
		b.Write(out.seal(0, data))
		synctest.Wait()
		select {
		case err := <-read:
			require.NoError(t, err)
		default:
			t.Error("Read waits for Write")
		}
	})
}

// The responder does not write before it has the confirmation, however long
// that takes: without it, it has no tunnel.
func TestConfirmationFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := link(1 << 16)
		done := w.accept(t.Context(), w.accepting(b))
		out, in := w.dial(t, a)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		require.Empty(t, done)
		require.EqualValues(t, 48, b.bytes.Load())
		a.Write(out.seal(1, nil))
		o := <-done
		require.NoError(t, o.err)
		go o.c.Write(data)
		_, plain := in.receive(t, a)
		require.Equal(t, data, plain)
		time.Sleep(time.Hour) // longer than the handshake's deadlines
		a.Write(out.seal(0, data))
		_, err := io.ReadFull(o.c, make([]byte, 5))
		require.NoError(t, err)
		o.c.Abort(io.EOF)
	})
}

// If the stream has no Reset, a refusal closes it; and a tunnel ends even over
// a stream that cannot end a single direction.
func TestPlainStream(t *testing.T) {
	w := newWorld(t)
	a, b := net.Pipe()
	i, r := w.open(t, a, b)
	go func() {
		i.Write(data)
		i.CloseWrite()
	}()
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, data, got)
	go r.Write(data)
	_, err = io.ReadFull(i, got)
	require.NoError(t, err)
	i.Abort(io.EOF)
	_, err = io.ReadAll(r)
	require.NoError(t, err, "this direction had ended before")
	_, err = r.Write(data)
	require.Error(t, err)

	a, b = net.Pipe()
	w.dir.remove(w.iInstance.Remote())
	done := w.accept(t.Context(), w.accepting(b))
	_, err = w.initiate(t, a)
	require.ErrorIs(t, err, ErrHandshake)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorIs(t, until(t, done).err, ErrUnauthorized)
}

// A peer that does not accept the confirmation has given up by the time limit,
// and so do we.
func TestConfirmationStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := link(10) // the confirmation does not fit into the buffer
		go w.answer(t, b)
		i, err := w.initiate(t, a)
		require.NoError(t, err)
		began := time.Now()
		_, err = i.Read(make([]byte, 1))
		require.ErrorIs(t, err, ErrTimeout)
		require.Equal(t, handshakeTime, time.Since(began).Truncate(time.Second))
		_, err = i.Write([]byte("x"))
		require.ErrorIs(t, err, ErrTimeout)
	})
}
