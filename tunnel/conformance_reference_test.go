package tunnel

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// refEphemeral is the reference's ephemeral private key.
var refEphemeral = bytes.Repeat([]byte{0x2a}, 32)

// refInitiator returns the reference as the initiator.
func (w *world) refInitiator(t testing.TB) *reference {
	return newReference(refStatic(t, seedOf("initiator's instance")), dhKey(t, refEphemeral), w.rPublic(t), w.refPrologue(), w.secret[:])
}

// refResponder returns the reference as the responder.
func (w *world) refResponder(t testing.TB) *reference {
	s := refStatic(t, seedOf("responder's instance"))
	return newReference(s, dhKey(t, refEphemeral), s.PublicKey().Bytes(), w.refPrologue(), w.secret[:])
}

func (w *world) rPublic(t testing.TB) []byte {
	return refStatic(t, seedOf("responder's instance")).PublicKey().Bytes()
}

func (w *world) refPrologue() []byte {
	return refPrologue(seedOf("initiator's node"), seedOf("responder's node"), w.library[:], w.binding[:])
}

func (w *world) m1(t testing.TB) []byte { return w.refInitiator(t).m1(w.rPublic(t)) }

// dial has the reference open a tunnel, up to the responder's answer; the first
// record that the initiator seals after that is its confirmation.
func (w *world) dial(t testing.TB, c net.Conn) (out, in *refDirection) {
	r := w.refInitiator(t)
	_, err := c.Write(r.m1(w.rPublic(t)))
	require.NoError(t, err)
	m2 := make([]byte, 48)
	_, err = io.ReadFull(c, m2)
	require.NoError(t, err)
	require.NoError(t, r.readM2(m2))
	return r.split()
}

// answer has the reference accept a tunnel, before any confirmation.
func (w *world) answer(t testing.TB, c net.Conn) (in, out *refDirection) {
	r := w.refResponder(t)
	m1 := make([]byte, 98)
	_, err := io.ReadFull(c, m1)
	require.NoError(t, err)
	require.NoError(t, r.readM1(m1))
	_, err = c.Write(r.m2())
	require.NoError(t, err)
	return r.split()
}

// receive reads a record.
func (d *refDirection) receive(t testing.TB, c io.Reader) (typ byte, plain []byte) {
	var header [3]byte
	_, err := io.ReadFull(c, header[:])
	require.NoError(t, err)
	b := make([]byte, binary.BigEndian.Uint16(header[1:]))
	_, err = io.ReadFull(c, b)
	require.NoError(t, err)
	plain, err = d.open(header[:], b)
	require.NoError(t, err)
	return header[0], plain
}

// The reference makes the same bytes as the vectors.
func TestReferenceVectors(t *testing.T) {
	for _, v := range vectors(t) {
		is, rs := refStatic(t, v.InitiatorInstanceSeed), refStatic(t, v.ResponderInstanceSeed)
		public := rs.PublicKey().Bytes()
		prologue := refPrologue(v.InitiatorNodeSeed, v.ResponderNodeSeed, v.Library, v.ChannelBinding)
		require.Equal(t, []byte(v.Prologue), prologue)
		i := newReference(is, dhKey(t, v.InitiatorEphemeralPrivate), public, prologue, v.PSK)
		r := newReference(rs, dhKey(t, v.ResponderEphemeralPrivate), public, prologue, v.PSK)
		m1 := i.m1(public)
		require.Equal(t, []byte(v.M1), m1)
		require.NoError(t, r.readM1(m1))
		m2 := r.m2()
		require.Equal(t, []byte(v.M2), m2)
		require.NoError(t, i.readM2(m2))
		require.Equal(t, []byte(v.HandshakeHash), i.h)
		require.Equal(t, i.h, r.h)
		i2r, r2i := i.split()
		require.Equal(t, []byte(v.Confirm), i2r.seal(1, nil))
		require.Equal(t, []byte(v.I2RHello), i2r.seal(0, []byte("hello")))
		require.Equal(t, []byte(v.I2RClose), i2r.seal(2, nil))
		require.Equal(t, []byte(v.R2IHello), r2i.seal(0, []byte("hello")))
		require.Equal(t, []byte(v.R2IClose), r2i.seal(2, nil))
		i2r.n = 32768
		require.Equal(t, []byte(v.I2RCloseAfterRekey), i2r.seal(2, nil))
		require.Equal(t, []byte(v.I2RKeyAfterRekey), i2r.key)
	}
}

// sizes are the lengths of the data that the reference and a tunnel exchange,
// one record each.
var sizes = []int{1, 2, 16, 1000, MaxData - 1, MaxData}

// The reference, as the initiator, talks to a Responder, before and after a
// change of keys.
func TestReferenceInitiates(t *testing.T) {
	w := newWorld(t)
	a, b := net.Pipe()
	defer a.Close()
	accepted := make(chan *Conn, 1)
	go func() {
		c, err := w.responder.Accept(t.Context(), w.accepting(b))
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	out, in := w.dial(t, a)
	_, err := a.Write(out.seal(1, nil))
	require.NoError(t, err)
	c := until(t, accepted)
	require.NotNil(t, c)
	talk(t, a, c, out, in)
}

// The reference, as the responder, talks to Open.
func TestReferenceAccepts(t *testing.T) {
	w := newWorld(t)
	a, b := net.Pipe()
	defer b.Close()
	dialed := make(chan *Conn, 1)
	go func() {
		c, err := w.initiate(t, a)
		if err != nil {
			t.Error(err)
		}
		dialed <- c
	}()
	in, out := w.answer(t, b)
	typ, plain := in.receive(t, b)
	require.EqualValues(t, 1, typ)
	require.Empty(t, plain)
	c := until(t, dialed)
	require.NotNil(t, c)
	talk(t, b, c, out, in)
}

// talk exchanges data of all sizes, before and after a change of keys, and the
// end.
func talk(t *testing.T, raw net.Conn, c *Conn, out, in *refDirection) {
	for _, n := range []uint64{0, 32766, 65534} {
		if n > 0 { // skips the records in between
			out.n, in.n, c.in.n, c.out.n = n, n, n, n
		}
		for _, size := range sizes {
			data := bytes.Repeat([]byte{byte(size)}, size)
			go raw.Write(out.seal(0, data))
			got := make([]byte, size)
			_, err := io.ReadFull(c, got)
			require.NoError(t, err)
			require.Equal(t, data, got)
			go c.Write(data)
			typ, plain := in.receive(t, raw)
			require.Zero(t, typ)
			require.Equal(t, data, plain)
		}
	}
	go c.CloseWrite()
	typ, plain := in.receive(t, raw)
	require.EqualValues(t, 2, typ)
	require.Empty(t, plain)
	go raw.Write(out.seal(2, nil))
	n, err := c.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
}

// A tunnel's records equal those of the reference, one by one, beyond the
// change of keys.
func TestReferenceManyRecords(t *testing.T) {
	const records = 33000
	w := newWorld(t)
	a, b := link(1 << 8)
	accepted := make(chan *Conn, 1)
	go func() {
		c, _ := w.responder.Accept(t.Context(), w.accepting(b))
		accepted <- c
	}()
	out, in := w.dial(t, a)
	_, err := a.Write(out.seal(1, nil))
	require.NoError(t, err)
	c := until(t, accepted)
	require.NotNil(t, c)
	go func() {
		for i := range records {
			a.Write(out.seal(0, []byte{byte(i)}))
		}
		a.Write(out.seal(2, nil))
		a.CloseWrite()
	}()
	go func() {
		var one [1]byte
		for {
			n, err := c.Read(one[:])
			if err != nil {
				c.CloseWrite()
				return
			}
			c.Write(one[:n])
		}
	}()
	for i := range records {
		typ, plain := in.receive(t, a)
		require.Zero(t, typ)
		require.Equal(t, []byte{byte(i)}, plain)
	}
	typ, _ := in.receive(t, a)
	require.EqualValues(t, 2, typ)
}
