package tunnel

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/sdp2p/p2p/tunnel"
)

const (
	cipherName   = "chacha20poly1305"
	streamedName = "chacha20poly1305, from a stream"

	recordData = tunnel.MaxData
	batch      = 8 // records that are sealed before they are opened: small enough for a processor's cache
)

// A diversion is a stream whose bytes take another way, once it has one.
type diversion struct {
	net.Conn
	w io.Writer
	r io.Reader
}

func (d *diversion) Write(b []byte) (int, error) {
	if d.w != nil {
		return d.w.Write(b)
	}
	return d.Conn.Write(b)
}

func (d *diversion) Read(b []byte) (int, error) {
	if d.r != nil {
		return d.r.Read(b)
	}
	return d.Conn.Read(b)
}

// records are a tunnel and the bare cipher, with what they read and write. One
// goroutine uses it.
type records struct {
	in, out     *tunnel.Conn
	away        *diversion // of out
	sealed      bytes.Buffer
	plain, read []byte

	aead     cipher.AEAD
	nonce    [chacha20poly1305.NonceSize]byte
	buf      []byte
	ciphered [batch][]byte // what aead has sealed
}

func newRecords(ctx context.Context) (*records, error) {
	m, err := newMembers()
	if err != nil {
		return nil, err
	}
	a, b := newMemory()
	r := &records{plain: make([]byte, recordData), read: make([]byte, recordData), buf: make([]byte, 0, recordData+tunnel.Overhead)}
	r.away = &diversion{Conn: a}
	from := &diversion{Conn: b}
	if r.out, r.in, err = m.open(ctx, r.away, from); err != nil {
		return nil, err
	}
	if _, err := r.in.Read(r.read); err != nil { // the byte that came with the proof
		return nil, err
	}
	r.away.w, from.r = io.Discard, &r.sealed
	rand.Read(r.plain)
	key := make([]byte, chacha20poly1305.KeySize)
	rand.Read(key)
	if r.aead, err = chacha20poly1305.New(key); err != nil {
		return nil, err
	}
	for i := range r.ciphered {
		r.ciphered[i] = r.aead.Seal(nil, r.nonce[:], r.plain, nil)
	}
	return r, nil
}

func (r *records) close() {
	r.in.Abort(nil)
	r.out.Abort(nil)
}

// seal writes a record to where out goes.
func (r *records) seal() error {
	_, err := r.out.Write(r.plain)
	return err
}

func (r *records) sealBare() error {
	r.aead.Seal(r.buf[:0], r.nonce[:], r.plain, nil)
	return nil
}

// open seals n records and opens them, and tells how long opening took.
func (r *records) open(n int) (took time.Duration, err error) {
	return batches(n, func(k int) error {
		r.away.w = &r.sealed
		defer func() { r.away.w = io.Discard }()
		for range k {
			if err := r.seal(); err != nil {
				return err
			}
		}
		return nil
	}, func(int) error {
		_, err := io.ReadFull(r.in, r.read)
		return err
	})
}

func (r *records) openBare(n int) (time.Duration, error) {
	return batches(n, func(int) error { return nil }, func(i int) error {
		_, err := r.aead.Open(r.read[:0], r.nonce[:], r.ciphered[i], nil)
		return err
	})
}

// openStreamed has the cipher read what it opens from a stream.
func (r *records) openStreamed(n int) (time.Duration, error) {
	return batches(n, func(k int) error {
		for i := range k {
			r.sealed.Write(r.ciphered[i])
		}
		return nil
	}, func(int) error {
		b := r.buf[:recordData+chacha20poly1305.Overhead]
		if _, err := io.ReadFull(&r.sealed, b); err != nil {
			return err
		}
		_, err := r.aead.Open(r.read[:0], r.nonce[:], b, nil)
		return err
	})
}

// batches prepares n records, a batch at a time, and tells how long it takes to
// open them.
func batches(n int, prepare, open func(i int) error) (took time.Duration, err error) {
	for n > 0 {
		k := min(n, batch)
		n -= k
		if err := prepare(k); err != nil {
			return 0, err
		}
		began := time.Now()
		for i := range k {
			if err := open(i); err != nil {
				return 0, err
			}
		}
		took += time.Since(began)
	}
	return took, nil
}
