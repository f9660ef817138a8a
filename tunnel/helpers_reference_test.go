package tunnel

import (
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"
)

// This is a second implementation of the handshake and the records, written
// from the text of the Noise Protocol Framework, revision 34, and from this
// package's documentation; it shares no code with the first. Tests alter it to
// make messages that must be refused.

// A reference is one side of a handshake: Noise's SymmetricState and
// HandshakeState.
type reference struct {
	s, e       *ecdh.PrivateKey
	ePublic    []byte // sent in place of e's, if not nil
	zero       bool   // agreements with e yield zero, as with a key of low order
	sPublic    []byte // sent in place of s's, if not nil; agreements with s yield zero
	re, rs     []byte
	psk        []byte
	ck, h, key []byte
	n          uint64
}

func dhKey(t testing.TB, b []byte) *ecdh.PrivateKey {
	k, err := ecdh.X25519().NewPrivateKey(b)
	require.NoError(t, err)
	return k
}

// refStatic returns the private key that is derived from a seed of Ed25519.
func refStatic(t testing.TB, seed []byte) *ecdh.PrivateKey {
	h := sha512.Sum512(seed)
	return dhKey(t, h[:32]) // X25519 itself clamps it
}

func refPrologue(iNodeSeed, rNodeSeed, library, binding []byte) []byte {
	b := append([]byte("sdp2p-tunnel-v1\x00"), ed25519.NewKeyFromSeed(iNodeSeed).Public().(ed25519.PublicKey)...)
	b = append(b, ed25519.NewKeyFromSeed(rNodeSeed).Public().(ed25519.PublicKey)...)
	return append(append(b, library...), binding...)
}

// newReference is Initialize (§5.3). The responder's static key is known
// beforehand: "<- s".
func newReference(s, e *ecdh.PrivateKey, responder, prologue, psk []byte) *reference {
	name := sha256.Sum256([]byte("Noise_IKpsk1_25519_ChaChaPoly_SHA256")) // longer than 32 bytes
	r := &reference{s: s, e: e, psk: psk, ck: name[:], h: name[:]}
	r.mixHash(prologue)
	r.mixHash(responder)
	return r
}

func (r *reference) mixHash(b []byte) {
	h := sha256.Sum256(append(append([]byte(nil), r.h...), b...))
	r.h = h[:]
}

func mac(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// hkdf is HKDF of §4.3, with three outputs.
func hkdf(ck, input []byte) (a, b, c []byte) {
	temp := mac(ck, input)
	a = mac(temp, []byte{1})
	b = mac(temp, a, []byte{2})
	return a, b, mac(temp, b, []byte{3})
}

func (r *reference) mixKey(input []byte) {
	r.ck, r.key, _ = hkdf(r.ck, input)
	r.n = 0
}

func (r *reference) mixKeyAndHash(input []byte) {
	var h []byte
	r.ck, h, r.key = hkdf(r.ck, input)
	r.mixHash(h)
	r.n = 0
}

func cipherOf(key []byte) cipher.AEAD {
	c, err := chacha20poly1305.New(key)
	if err != nil {
		panic(err)
	}
	return c
}

func aead(c cipher.AEAD, n uint64) (seal func(ad, b []byte) []byte, open func(ad, b []byte) ([]byte, error)) {
	nonce := binary.LittleEndian.AppendUint64(make([]byte, 4), n) // §12.3
	return func(ad, b []byte) []byte { return c.Seal(nil, nonce, b, ad) },
		func(ad, b []byte) ([]byte, error) { return c.Open(nil, nonce, b, ad) }
}

func (r *reference) encrypt(b []byte) []byte {
	seal, _ := aead(cipherOf(r.key), r.n)
	r.n++
	b = seal(r.h, b)
	r.mixHash(b)
	return b
}

func (r *reference) decrypt(b []byte) ([]byte, error) {
	_, open := aead(cipherOf(r.key), r.n)
	r.n++
	plain, err := open(r.h, b)
	r.mixHash(b)
	return plain, err
}

func (r *reference) dh(k *ecdh.PrivateKey, public []byte) []byte {
	if r.zero && k == r.e || r.sPublic != nil && k == r.s {
		return make([]byte, 32)
	}
	p, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		panic(err)
	}
	b, err := k.ECDH(p)
	if err != nil {
		return make([]byte, 32)
	}
	return b
}

func or(b []byte, k *ecdh.PrivateKey) []byte {
	if b != nil {
		return b
	}
	return k.PublicKey().Bytes()
}

// m1 returns the initiator's message: "-> e, es, s, ss, psk". rs is the
// responder's static key as the initiator knows it.
func (r *reference) m1(rs []byte) []byte {
	r.rs = rs
	e := or(r.ePublic, r.e)
	r.mixHash(e)
	r.mixKey(e) // §9.2
	r.mixKey(r.dh(r.e, rs))
	s := r.encrypt(or(r.sPublic, r.s))
	r.mixKey(r.dh(r.s, rs))
	r.mixKeyAndHash(r.psk)
	m := append(append([]byte{'T', 1}, e...), s...)
	return append(m, r.encrypt(nil)...)
}

func (r *reference) readM1(m []byte) (err error) {
	if len(m) != 98 || m[0] != 'T' || m[1] != 1 {
		return errors.New("no first message")
	}
	r.re = m[2:34]
	r.mixHash(r.re)
	r.mixKey(r.re)
	r.mixKey(r.dh(r.s, r.re))
	if r.rs, err = r.decrypt(m[34:82]); err != nil {
		return err
	}
	r.mixKey(r.dh(r.s, r.rs))
	r.mixKeyAndHash(r.psk)
	_, err = r.decrypt(m[82:])
	return err
}

// m2 returns the responder's message: "<- e, ee, se".
func (r *reference) m2() []byte {
	e := or(r.ePublic, r.e)
	r.mixHash(e)
	r.mixKey(e)
	r.mixKey(r.dh(r.e, r.re))
	r.mixKey(r.dh(r.e, r.rs))
	return append(append([]byte(nil), e...), r.encrypt(nil)...)
}

func (r *reference) readM2(m []byte) error {
	if len(m) != 48 {
		return errors.New("no second message")
	}
	r.re = m[:32]
	r.mixHash(r.re)
	r.mixKey(r.re)
	r.mixKey(r.dh(r.e, r.re))
	r.mixKey(r.dh(r.s, r.re))
	_, err := r.decrypt(m[32:])
	return err
}

// split returns the directions of the tunnel: the initiator's and the
// responder's.
func (r *reference) split() (i2r, r2i *refDirection) {
	a, b, _ := hkdf(r.ck, nil)
	return &refDirection{key: a, aead: cipherOf(a), every: 32768}, &refDirection{key: b, aead: cipherOf(b), every: 32768}
}

// A refDirection seals or opens records.
type refDirection struct {
	key   []byte
	aead  cipher.AEAD
	n     uint64
	every uint64
}

// next prepares for the next record: Rekey (§4.2) if it is due.
func (d *refDirection) next() uint64 {
	if d.n > 0 && d.n%d.every == 0 {
		seal, _ := aead(d.aead, 1<<64-1)
		d.key = seal(nil, make([]byte, 32))[:32]
		d.aead = cipherOf(d.key)
	}
	d.n++
	return d.n - 1
}

func (d *refDirection) seal(typ byte, b []byte) []byte {
	header := binary.BigEndian.AppendUint16([]byte{typ}, uint16(len(b)+16))
	n := d.next()
	seal, _ := aead(d.aead, n)
	return append(header, seal(header, b)...)
}

func (d *refDirection) open(header, b []byte) ([]byte, error) {
	n := d.next()
	_, open := aead(d.aead, n)
	return open(header, b)
}
