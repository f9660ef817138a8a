package tunnel

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scripted returns the messages of a handshake without randomness: both sides
// always send the same.
func scripted(t testing.TB) (w *world, m1, m2, confirmation []byte) {
	w = newWorld(t)
	i, r := w.refInitiator(t), w.refResponder(t)
	r.e = dhKey(t, seedOf("responder's ephemeral key"))
	m1 = i.m1(w.rPublic(t))
	require.NoError(t, r.readM1(m1))
	m2 = r.m2()
	require.NoError(t, i.readM2(m2))
	out, _ := i.split()
	return w, m1, m2, out.seal(1, nil)
}

// Whatever a peer sends, it gets a tunnel only for the very first message and
// confirmation that the keys make, and an answer only for that first message.
func FuzzAccept(f *testing.F) {
	w, m1, _, confirmation := scripted(f)
	good := append(bytes.Clone(m1), confirmation...)
	f.Add([]byte{})
	f.Add(m1)
	f.Add(good)
	f.Add(append(bytes.Clone(good), confirmation...))
	f.Add(append(bytes.Clone(m1), m1...))
	f.Add(flip(good, 8*100))
	for _, b := range foreign() {
		f.Add(b)
	}
	for _, v := range vectors(f) {
		f.Add(append(bytes.Clone(v.M1), v.Confirm...))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		a, b := link(len(input) + 1)
		a.Write(input)
		a.CloseWrite()
		_, wide := link(100)
		b.out = wide.out
		h := &acceptance{r: w.responder, s: w.accepting(b), begun: time.Now(), random: bytes.NewReader(seedOf("responder's ephemeral key"))}
		c, err := h.run(t.Context())
		answered := int64(0)
		if bytes.HasPrefix(input, m1) {
			answered = 48
		}
		require.Equal(t, answered, b.bytes.Load())
		require.Equal(t, bytes.HasPrefix(input, good), err == nil, "%v", err)
		require.Equal(t, c != nil, err == nil)
		if c != nil {
			c.Abort(io.EOF)
		}
	})
}

// Whatever a responder answers, the initiator continues only with the answer
// that the keys make to its own message.
func FuzzM2(f *testing.F) {
	w, m1, m2, _ := scripted(f)
	f.Add([]byte{})
	f.Add(m2)
	f.Add(append(bytes.Clone(m2), m2...))
	f.Add(m1[2:50])
	f.Add(make([]byte, 48))
	f.Add(flip(m2, 255))
	f.Fuzz(func(t *testing.T, input []byte) {
		a, b := link(len(input) + 1)
		b.Write(input)
		b.CloseWrite()
		_, wide := link(200)
		a.out = wide.out
		a.tapped()
		c, err := initiate(t.Context(), w.session(a), w.credential(w.iInstance), w.to(), bytes.NewReader(refEphemeral))
		require.Equal(t, m1, (*a.sent.Load())[:98])
		require.Equal(t, bytes.HasPrefix(input, m2), err == nil, "%v", err)
		if err != nil {
			require.EqualValues(t, 98, a.bytes.Load())
			return
		}
		c.Abort(io.EOF)
	})
}

// reader returns a tunnel that reads from an end, whose records are sealed with
// in.
func reader(size int, in *sealer) (c *Conn, from, to *end) {
	a, b := link(size)
	return newConn(Session{Stream: b, Reset: b.Reset}, new(Credential), Member{}, nil, in, at0()), a, b
}

// script reads fuzzed bytes as a list of records to seal, and returns the data
// and the error to which they must lead.
func script(input []byte, out *refDirection) (wire, data []byte, err error) {
	end := ErrTruncated
	for len(input) >= 2 {
		typ, n := input[0], min(int(input[1]), len(input)-2)
		plain := input[2 : 2+n]
		input = input[2+n:]
		wire = append(wire, out.seal(typ, plain)...)
		switch {
		case end == io.EOF:
			return wire, data, ErrTrailing
		case end != ErrTruncated:
		case typ > 2:
			end = ErrProtocol
		case (typ == 0) == (n == 0):
			end = ErrRecordSize
		case typ == 1:
			end = ErrProtocol
		case typ == 2:
			end = io.EOF
		default:
			data = append(data, plain...)
		}
	}
	return wire, data, end
}

// Whatever bytes arrive, a tunnel returns only bytes that were sealed, in their
// order, and its end only after a sealed one. A record that the peer itself has
// sealed out of place also ends the tunnel.
func FuzzRecords(f *testing.F) {
	key := make([]byte, 32)
	key[0] = 1
	seal := func() *refDirection { return &refDirection{key: key, aead: cipherOf(key), every: 32768} }
	ops := []byte("\x00\x05hello\x00\x05world\x02\x00")
	good, plain, end := script(ops, seal())
	require.Equal(f, io.EOF, end)
	f.Add(ops, true)
	f.Add([]byte("\x00\x05hello"), true)
	f.Add([]byte("\x00\x05hello\x01\x00"), true)
	f.Add([]byte("\x02\x00\x02\x00"), true)
	f.Add([]byte("\x00\x00"), true)
	f.Add([]byte("\x02\x01x"), true)
	f.Add([]byte("\x03\x00"), true)
	f.Add(good, false)
	f.Add(append(bytes.Clone(good), 0), false)
	f.Add(good[:len(good)-1], false)
	f.Add([]byte{0, 0xff, 0xff}, false)
	f.Add([]byte{0, 0x80, 0x10}, false)
	f.Add([]byte{2, 0, 16}, false)
	f.Fuzz(func(t *testing.T, input []byte, sealed bool) {
		wire, expect, end := input, plain, io.EOF
		if sealed {
			wire, expect, end = script(input, seal())
		}
		c, from, _ := reader(len(wire)+1, at0())
		defer c.Abort(io.EOF)
		from.Write(wire)
		from.CloseWrite()
		var got []byte
		var err error
		for buf := make([]byte, 1+len(wire)%7*50); err == nil; {
			var n int
			n, err = c.Read(buf)
			got = append(got, buf[:n]...)
		}
		if sealed {
			require.True(t, bytes.Equal(expect, got))
			require.ErrorIs(t, err, end)
		} else {
			require.True(t, bytes.HasPrefix(expect, got))
			require.Equal(t, bytes.Equal(wire, good), err == io.EOF, "%v", err)
		}
		_, again := c.Read(make([]byte, 1))
		require.Equal(t, err, again)
	})
}
