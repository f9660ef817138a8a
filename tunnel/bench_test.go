package tunnel

import (
	"crypto/cipher"
	"crypto/ecdh"
	"io"
	"net"
	"testing"

	"github.com/flynn/noise"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"
)

var suite = noise.NewCipherSuite(&keys{}, noise.CipherChaChaPoly, noise.HashSHA256)

// at0 returns the sealer of a direction at record 0.
func at0() *sealer { return newSealer(noise.UnsafeNewCipherState(suite, [32]byte{1}, 0)) }

func bare(b *testing.B) cipher.AEAD {
	c, err := chacha20poly1305.New(make([]byte, 32))
	require.NoError(b, err)
	return c
}

// BenchmarkSeal compares sealing a record of 32 KiB with the cipher alone.
func BenchmarkSeal(b *testing.B) {
	plain, out := pattern(MaxData), make([]byte, 0, recordSize)
	b.Run("record", func(b *testing.B) {
		s := at0()
		b.SetBytes(MaxData)
		b.ReportAllocs()
		for b.Loop() {
			s.seal(out, typeData, plain)
		}
	})
	b.Run("cipher", func(b *testing.B) {
		c, nonce := bare(b), make([]byte, 12)
		b.SetBytes(MaxData)
		for b.Loop() {
			c.Seal(out, nonce, plain, nil)
		}
	})
}

// BenchmarkOpen compares opening a record of 32 KiB with the cipher alone.
func BenchmarkOpen(b *testing.B) {
	plain, out := pattern(MaxData), make([]byte, 0, MaxData)
	b.Run("record", func(b *testing.B) {
		record := at0().seal(nil, typeData, plain)
		s := at0()
		b.SetBytes(MaxData)
		b.ReportAllocs()
		for b.Loop() {
			s.n = 0
			if _, err := s.open(out, [3]byte(record), record[headerSize:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cipher", func(b *testing.B) {
		c, nonce := bare(b), make([]byte, 12)
		sealed := c.Seal(nil, nonce, plain, nil)
		b.SetBytes(MaxData)
		for b.Loop() {
			if _, err := c.Open(out, nonce, sealed, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHandshake measures both sides of a handshake, up to the confirmed
// tunnel.

func BenchmarkHandshake(b *testing.B) {
	w := newWorld(b)
	ic := w.credential(w.iInstance)
	b.ReportAllocs()
	for b.Loop() {
		x, y := link(256)
		done := make(chan *Conn)
		go func() {
			c, _ := w.responder.Accept(b.Context(), w.accepting(y))
			done <- c
		}()
		i, err := Open(b.Context(), w.session(x), ic, w.to())
		if err != nil {
			b.Fatal(err)
		}
		if err := i.confirmNow(); err != nil {
			b.Fatal(err)
		}
		r := <-done
		if r == nil {
			b.Fatal("not accepted")
		}
		i.Abort(io.EOF)
		r.Abort(io.EOF)
	}
}

// BenchmarkRefusal measures the cost of a first message to a responder that has
// the largest number of credentials, none of which fits.
func BenchmarkRefusal(b *testing.B) {
	w := newWorld(b)
	m1 := w.m1(b)
	for range MaxCredentials {
		w.dir.credentials = append(w.dir.credentials, w.credential(named(b, "another")))
	}
	w.dir.credentials = w.dir.credentials[1:]
	h := &acceptance{r: w.responder, s: w.accepting(nil)}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := h.open(m1[2:]); err == nil {
			b.Fatal("a credential fits")
		}
	}
}

// BenchmarkTunnelPipe sends 32 KiB at a time from one end to the other.
func BenchmarkTunnelPipe(b *testing.B) {
	for name, stream := range map[string]func() (net.Conn, net.Conn){
		"net.Pipe": net.Pipe,
		"link":     func() (net.Conn, net.Conn) { x, y := link(1 << 18); return x, y },
	} {
		b.Run(name, func(b *testing.B) {
			x, y := stream()
			i, r := newWorld(b).open(b, x, y)
			go io.Copy(io.Discard, r)
			out := pattern(MaxData)
			b.SetBytes(MaxData)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := i.Write(out); err != nil {
					b.Fatal(err)
				}
			}
			i.Abort(io.EOF)
			r.Abort(io.EOF)
		})
	}
}

// BenchmarkAgreements measures the part of a handshake that cannot be saved:
// ten X25519 operations on both sides, two of them for ephemeral keys.
func BenchmarkAgreements(b *testing.B) {
	seed := make([]byte, keySize)
	private, err := ecdh.X25519().NewPrivateKey(seed)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for range 2 {
			if _, err := ecdh.X25519().NewPrivateKey(seed); err != nil {
				b.Fatal(err)
			}
		}
		for range 8 {
			if _, err := private.ECDH(private.PublicKey()); err != nil {
				b.Fatal(err)
			}
		}
	}
}
