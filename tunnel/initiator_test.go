package tunnel

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// An initiator opens a tunnel only to a member, on the member's node, and not
// to itself.
func TestInitiatorRequires(t *testing.T) {
	w := newWorld(t)
	for name, to := range map[string]Member{
		"nobody":               {Node: w.rNode.Remote()},
		"itself":               {w.iInstance.Remote(), w.rNode.Remote()},
		"a member elsewhere":   {w.rInstance.Remote(), w.iNode.Remote()},
		"a member without one": {Instance: w.rInstance.Remote()},
	} {
		a, _ := link(1 << 10)
		c, err := Open(t.Context(), w.session(a), w.credential(w.iInstance), to)
		outcome{c, err}.failed(t, a, ErrUnauthorized, name)
		require.Zero(t, a.bytes.Load(), name)
	}
	a, _ := link(1 << 10)
	s := w.session(a)
	s.Remote = identity.RemoteIdentity{}
	c, err := Open(t.Context(), s, w.credential(w.iInstance), Member{Instance: w.rInstance.Remote()})
	outcome{c, err}.failed(t, a, ErrUnauthorized)
	require.Zero(t, a.bytes.Load())
}

// A flipped bit anywhere in the second message is detected.
func TestFlipM2(t *testing.T) {
	w, _, m2, _ := scripted(t)
	for bit := -1; bit < len(m2)*8; bit++ {
		a, b := link(1 << 10)
		if bit < 0 {
			b.Write(m2)
		} else {
			b.Write(flip(m2, bit))
		}
		c, err := initiate(t.Context(), w.session(a), w.credential(w.iInstance), w.to(), bytes.NewReader(refEphemeral))
		if bit < 0 {
			require.NoError(t, err)
			c.Abort(io.EOF)
			continue
		}
		require.ErrorIs(t, err, ErrHandshake, bit)
		require.Nil(t, c)
		require.EqualValues(t, 98, a.bytes.Load(), bit)
	}
}

// An initiator that refuses the answer resets the stream at once, and sends no
// confirmation: if a key in it has low order or the highest bit set, if the
// answer is its own message, belongs to another first message, or comes from
// another responder.
func TestInitiatorRefuses(t *testing.T) {
	type answer struct {
		name string
		m2   func(r *reference, m1 []byte) []byte
	}
	var all []answer
	for _, p := range lowOrder {
		all = append(all, answer{"low order " + p, func(r *reference, m1 []byte) []byte {
			require.NoError(t, r.readM1(m1))
			r.ePublic, r.zero = fromHex(t, p), true
			return r.m2()
		}})
	}
	all = append(all, answer{"bit 255", func(r *reference, m1 []byte) []byte {
		require.NoError(t, r.readM1(m1))
		r.ePublic = r.e.PublicKey().Bytes()
		r.ePublic[31] |= 0x80
		return r.m2()
	}}, answer{"reflected", func(_ *reference, m1 []byte) []byte {
		return m1[:48]
	}}, answer{"reflected key", func(_ *reference, m1 []byte) []byte {
		return m1[2:50]
	}}, answer{"answer to another", func(r *reference, _ []byte) []byte {
		require.NoError(t, r.readM1(newWorld(t).m1(t)))
		return r.m2()
	}}, answer{"another responder", func(r *reference, m1 []byte) []byte {
		require.NoError(t, r.readM1(m1))
		r.s = refStatic(t, seedOf("another"))
		r.e, r.rs = r.s, m1[2:34] // it lacks the initiator's static key
		return r.m2()
	}})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, answer := range all {
			a, b := link(1 << 10)
			go func() {
				m1 := make([]byte, 98)
				io.ReadFull(b, m1)
				b.Write(answer.m2(w.refResponder(t), m1))
			}()
			begun := time.Now()
			c, err := w.initiate(t, a)
			outcome{c, err}.failed(t, a, ErrHandshake, answer.name)
			require.Equal(t, begun, *a.resetAt.Load())
			time.Sleep(time.Minute)
			require.EqualValues(t, 98, a.bytes.Load(), answer.name)
		}
	})
}
