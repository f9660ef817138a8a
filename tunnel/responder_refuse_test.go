package tunnel

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// A refusal is a first message, and the state of the responder, for which the
// only answer is a reset after 250 ms, without a byte.
type refusal struct {
	name string
	m1   func(t *testing.T, w *world) []byte // nil: a valid one
	meet func(t *testing.T, w *world, s *Session)
	err  error
}

// raw returns a first message of fixed bytes.
func raw(b []byte) func(*testing.T, *world) []byte {
	return func(*testing.T, *world) []byte { return append([]byte(nil), b...) }
}

// from returns a first message made by a reference that edit has altered.
func from(edit func(t *testing.T, w *world, r *reference)) func(*testing.T, *world) []byte {
	return func(t *testing.T, w *world) []byte {
		r := w.refInitiator(t)
		edit(t, w, r)
		return r.m1(w.rPublic(t))
	}
}

// elsewhere returns a valid first message for another world.
func elsewhere(change func(t *testing.T, w *world)) func(*testing.T, *world) []byte {
	return func(t *testing.T, w *world) []byte {
		other := *w
		change(t, &other)
		return other.m1(t)
	}
}

// between returns a valid first message between two nodes with these names.
func between(i, r string) func(*testing.T, *world) []byte {
	return func(t *testing.T, w *world) []byte {
		prologue := refPrologue(seedOf(i), seedOf(r), w.library[:], w.binding[:])
		ref := newReference(refStatic(t, seedOf("initiator's instance")), dhKey(t, refEphemeral), w.rPublic(t), prologue, w.secret[:])
		return ref.m1(w.rPublic(t))
	}
}

func meet(f func(t *testing.T, w *world)) func(*testing.T, *world, *Session) {
	return func(t *testing.T, w *world, _ *Session) { f(t, w) }
}

func allow(f func(ctx context.Context) bool) func(*testing.T, *world, *Session) {
	return meet(func(_ *testing.T, w *world) { w.dir.allow = func(ctx context.Context, _ Member) bool { return f(ctx) } })
}

// foreign returns the first bytes of other protocols, at least 98.
func foreign() map[string][]byte {
	hello := slices.Concat([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, bytes.Repeat([]byte{7}, 120))
	noise := slices.Concat([]byte("\x13/multistream/1.0.0\n\x07/noise\n\x00\x20"), bytes.Repeat([]byte{8}, 120))
	random := make([]byte, 98)
	rand.Read(random)
	random[0] &= 0x0f
	return map[string][]byte{
		"TLS": hello, "libp2p noise": noise, "random": random, "zeros": make([]byte, 98),
		"HTTP": []byte("POST / HTTP/1.1\r\nHost: example.org\r\n" + string(bytes.Repeat([]byte{'a'}, 98))),
	}
}

// lowOrder lists the coordinates of the points of low order, in all encodings
// without the highest bit.
var lowOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

func fromHex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func refusals(t *testing.T) (all []refusal) {
	add := func(name string, err error, m1 func(*testing.T, *world) []byte, meet func(*testing.T, *world, *Session)) {
		all = append(all, refusal{name, m1, meet, err})
	}
	for name, b := range foreign() {
		add(name, ErrNotTunnel, raw(b), nil)
	}
	for _, v := range []byte{0, 2, 0xff} {
		add("version", ErrVersion, func(t *testing.T, w *world) []byte { b := w.m1(t); b[1] = v; return b }, nil)
	}
	add("first byte", ErrNotTunnel, func(t *testing.T, w *world) []byte { b := w.m1(t); b[0] = 'U'; return b }, nil)
	for _, p := range lowOrder {
		add("ephemeral key of low order "+p, ErrHandshake, from(func(t *testing.T, w *world, r *reference) {
			r.ePublic, r.zero = fromHex(t, p), true
		}), nil)
		add("static key of low order "+p, ErrHandshake, from(func(t *testing.T, w *world, r *reference) {
			r.sPublic = fromHex(t, p)
		}), nil)
	}
	add("ephemeral key with bit 255", ErrHandshake, from(func(t *testing.T, w *world, r *reference) {
		r.ePublic = r.e.PublicKey().Bytes()
		r.ePublic[31] |= 0x80
	}), nil)

	add("unknown instance of ours", ErrHandshake, nil, meet(func(t *testing.T, w *world) {
		w.dir.credentials = []*Credential{w.credential(named(t, "another"))}
	}))
	add("no instances", ErrHandshake, nil, meet(func(t *testing.T, w *world) { w.dir.credentials = nil }))
	add("the 65th candidate", ErrHandshake, nil, meet(func(t *testing.T, w *world) {
		other := w.credential(named(t, "another"))
		w.dir.credentials = append(slices.Repeat([]*Credential{other}, 64), w.dir.credentials...)
	}))
	add("another library, same keys", ErrHandshake, elsewhere(func(_ *testing.T, w *world) { w.library[15]++ }), nil)
	add("other exporter", ErrHandshake, elsewhere(func(_ *testing.T, w *world) { w.binding[31]++ }), nil)
	add("exporter missing there", ErrHandshake, elsewhere(func(_ *testing.T, w *world) { w.binding = [32]byte{} }), nil)
	add("exporter missing here", ErrHandshake, nil, func(_ *testing.T, _ *world, s *Session) { s.Binding = [32]byte{} })
	add("other secret", ErrHandshake, elsewhere(func(_ *testing.T, w *world) { w.secret[31]++ }), nil)
	add("secret missing there", ErrHandshake, elsewhere(func(_ *testing.T, w *world) { w.secret = [32]byte{} }), nil)
	add("secret missing here", ErrHandshake, nil, meet(func(_ *testing.T, w *world) {
		w.secret = [32]byte{}
		w.dir.credentials = []*Credential{w.credential(w.rInstance)}
		w.secret = [32]byte(seedOf("secret"))
	}))
	add("for another initiator's node", ErrHandshake, between("another node", "responder's node"), nil)
	add("for another responder's node", ErrHandshake, between("initiator's node", "another node"), nil)
	add("for the other direction", ErrHandshake, between("responder's node", "initiator's node"), nil)
	add("reflected", ErrHandshake, nil, func(_ *testing.T, _ *world, s *Session) { s.Local, s.Remote = s.Remote, s.Local })
	add("for another instance", ErrHandshake, func(t *testing.T, w *world) []byte {
		public := refStatic(t, seedOf("another")).PublicKey().Bytes()
		return newReference(refStatic(t, seedOf("initiator's instance")), dhKey(t, refEphemeral), public, w.refPrologue(), w.secret[:]).m1(public)
	}, nil)

	add("no member", ErrUnauthorized, nil, meet(func(_ *testing.T, w *world) { w.dir.remove(w.iInstance.Remote()) }))
	add("member of another library", ErrUnauthorized, nil, meet(func(t *testing.T, w *world) {
		w.dir.members = nil
		w.dir.add(t, uuid.UUID{'o'}, Member{w.iInstance.Remote(), w.iNode.Remote()})
	}))
	add("member from another node", ErrUnauthorized, between("another node", "responder's node"), func(t *testing.T, w *world, s *Session) {
		s.Remote = named(t, "another node").Remote()
	})
	add("member without a node, peer without a key", ErrUnauthorized, func(t *testing.T, w *world) []byte {
		node := ed25519.NewKeyFromSeed(seedOf("responder's node")).Public().(ed25519.PublicKey)
		p := slices.Concat([]byte("sdp2p-tunnel-v1\x00"), make([]byte, 32), node, w.library[:], w.binding[:])
		return newReference(refStatic(t, seedOf("initiator's instance")), dhKey(t, refEphemeral), w.rPublic(t), p, w.secret[:]).m1(w.rPublic(t))
	}, func(t *testing.T, w *world, s *Session) {
		w.dir.add(t, w.library, Member{Instance: w.iInstance.Remote()})
		s.Remote = identity.RemoteIdentity{}
	})
	add("our own instance", ErrUnauthorized, from(func(t *testing.T, w *world, r *reference) {
		r.s = refStatic(t, seedOf("responder's instance"))
	}), meet(func(t *testing.T, w *world) {
		w.dir.add(t, w.library, Member{w.rInstance.Remote(), w.iNode.Remote()})
	}))
	add("not allowed", ErrUnauthorized, nil, allow(func(context.Context) bool { return false }))
	add("Allow panics", ErrUnauthorized, nil, allow(func(context.Context) bool { panic("oh") }))
	add("Allow waits for its context", ErrUnauthorized, nil, allow(func(ctx context.Context) bool { <-ctx.Done(); return true }))
	add("Allow is slow", ErrUnauthorized, nil, allow(func(context.Context) bool { time.Sleep(201 * time.Millisecond); return true }))
	add("Allow is late", ErrUnauthorized, nil, allow(func(context.Context) bool { time.Sleep(199 * time.Millisecond); return false }))
	return all
}

// Every refusal looks the same from outside: no bytes, and one reset 250 ms
// after the last byte of the first message, whenever that came. In a bubble,
// nothing else takes time.
func TestRefusals(t *testing.T) {
	for _, r := range refusals(t) {
		for _, held := range []time.Duration{0, 249 * time.Millisecond, 1999 * time.Millisecond} {
			t.Run(r.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { r.test(t, held) }) })
		}
	}
}

func (r refusal) test(t *testing.T, held time.Duration) {
	w := newWorld(t)
	if r.m1 == nil {
		r.m1 = func(t *testing.T, w *world) []byte { return w.m1(t) }
	}
	a, b := link(1 << 16)
	s := w.accepting(b)
	m1 := r.m1(t, w)
	if r.meet != nil {
		r.meet(t, w, &s)
	}
	begun := time.Now()
	go func() {
		a.Write(m1[:97])
		time.Sleep(held)
		a.Write(m1[97:])
	}()
	c, err := w.responder.Accept(t.Context(), s)
	require.ErrorIs(t, err, r.err)
	require.Nil(t, c)
	require.Zero(t, b.bytes.Load(), "a refusal must not answer")
	require.EqualValues(t, 1, b.resets.Load())
	require.Zero(t, b.closes.Load())
	require.Equal(t, held+250*time.Millisecond, b.resetAt.Load().Sub(begun))
	_, err = a.Read(make([]byte, 1))
	require.Equal(t, errReset, err)
}

// The messages from which those of the table are derived are accepted, up to
// the 64th candidate.
func TestNotRefused(t *testing.T) {
	for _, candidates := range []int{1, 64} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			other := w.credential(named(t, "another"))
			w.dir.credentials = append(slices.Repeat([]*Credential{other}, candidates-1), w.dir.credentials...)
			w.dir.allow = func(_ context.Context, m Member) bool {
				time.Sleep(199 * time.Millisecond)
				return m == Member{w.iInstance.Remote(), w.iNode.Remote()}
			}
			a, b := link(1 << 16)
			accepted := make(chan *Conn, 1)
			go func() {
				c, err := w.responder.Accept(t.Context(), w.accepting(b))
				if err != nil {
					t.Error(err)
				}
				accepted <- c
			}()
			out, _ := w.dial(t, a)
			a.Write(out.seal(1, nil))
			c := <-accepted
			require.NotNil(t, c)
			require.Equal(t, w.iInstance.Remote(), c.Instance())
			require.Equal(t, w.iNode.Remote(), c.Node())
			require.Equal(t, w.rInstance.Remote(), c.Credential().Instance())
			require.Equal(t, w.library, c.Library())
			c.Abort(io.EOF)
		})
	}
}

// A verdict that is late resets at the next multiple of 250 ms, so that the
// time does not show what was late.
func TestRefusalLate(t *testing.T) {
	for late, want := range map[time.Duration]time.Duration{
		249 * time.Millisecond: 250 * time.Millisecond,
		251 * time.Millisecond: 500 * time.Millisecond,
		900 * time.Millisecond: time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.dir.remove(w.iInstance.Remote())
			w.dir.lookup = func() { time.Sleep(late) }
			a, b := link(1 << 16)
			a.Write(w.m1(t))
			begun := time.Now()
			_, err := w.responder.Accept(t.Context(), w.accepting(b))
			require.ErrorIs(t, err, ErrUnauthorized)
			require.Equal(t, want, b.resetAt.Load().Sub(begun))
		})
	}
}

// A flipped bit anywhere in the first message is detected.
func TestFlipM1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m1 := w.m1(t)
		for bit := range len(m1) * 8 {
			want := ErrHandshake
			switch bit / 8 {
			case 0:
				want = ErrNotTunnel
			case 1:
				want = ErrVersion
			}
			flipped := flip(m1, bit)
			a, b := link(1 << 10)
			a.Write(flipped)
			_, err := w.responder.Accept(t.Context(), w.accepting(b))
			require.ErrorIs(t, err, want, bit)
			require.Zero(t, b.bytes.Load(), bit)
		}
	})
}

func flip(b []byte, bit int) []byte {
	b = append([]byte(nil), b...)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// Unsafe keys cannot become those of a member.
func TestBadKeys(t *testing.T) {
	b, err := os.ReadFile("../testdata/bad_keys.json")
	require.NoError(t, err)
	var bad []struct {
		Public hexBytes `json:"public"`
		Why    string   `json:"why"`
	}
	require.NoError(t, json.Unmarshal(b, &bad))
	require.NotEmpty(t, bad)
	w := newWorld(t)
	for _, k := range bad {
		id, err := identity.FromBytes(k.Public)
		require.ErrorIs(t, err, identity.ErrInvalid, k.Why)
		require.Zero(t, id)
		a, _ := link(1 << 10)
		_, err = Open(t.Context(), w.session(a), w.credential(w.iInstance), Member{id, w.rNode.Remote()})
		require.ErrorIs(t, err, ErrUnauthorized, k.Why)
		require.Zero(t, a.bytes.Load())
		require.EqualValues(t, 1, a.resets.Load())
	}
}
