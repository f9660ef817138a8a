package tunnel

import (
	"crypto/cipher"
	"encoding/binary"
	"sync"

	"github.com/flynn/noise"
	"golang.org/x/crypto/chacha20poly1305"
)

// Types of records.
const (
	typeData    = 0
	typeConfirm = 1
	typeClose   = 2
)

const (
	headerSize = 3
	// MaxData is the most data that one record carries, in bytes.
	MaxData    = 32768
	recordSize = headerSize + MaxData + tagSize

	// Overhead is what a record adds to its data, in bytes.
	Overhead = headerSize + tagSize

	// rekeyAfter is the number of records after which a direction changes its
	// key.
	rekeyAfter = 32768
)

// A sealer is one direction of a tunnel: its key and the number of its next
// record. It is used by one goroutine at a time.
type sealer struct {
	state *noise.CipherState
	aead  cipher.AEAD
	n     uint64

	nonce  [chacha20poly1305.NonceSize]byte // here, so that a record allocates nothing
	header [headerSize]byte
}

func newSealer(state *noise.CipherState) *sealer {
	s := &sealer{state: state}
	s.key()
	return s
}

func (s *sealer) key() {
	k := s.state.UnsafeKey()
	aead, err := chacha20poly1305.New(k[:])
	if err != nil {
		panic("tunnel: " + err.Error()) // the key has 32 bytes
	}
	s.aead = aead
}

// next makes the nonce of the next record, and a new key if one is due (Noise
// §11.3).
func (s *sealer) next() {
	if s.n > 0 && s.n%rekeyAfter == 0 {
		s.state.Rekey()
		s.key()
	}
	binary.LittleEndian.PutUint64(s.nonce[4:], s.n) // Noise §12.3
	s.n++
}

// seal appends a record to b, which has room for it.
func (s *sealer) seal(b []byte, typ byte, plaintext []byte) []byte {
	s.next()
	s.header[0] = typ
	binary.BigEndian.PutUint16(s.header[1:], uint16(len(plaintext)+tagSize))
	return s.aead.Seal(append(b, s.header[:]...), s.nonce[:], plaintext, s.header[:])
}

// open appends a record's data to b, which has room for it and may be the
// ciphertext's own memory.
func (s *sealer) open(b []byte, header [headerSize]byte, ciphertext []byte) ([]byte, error) {
	s.next()
	s.header = header
	plaintext, err := s.aead.Open(b, s.nonce[:], ciphertext, s.header[:])
	if err != nil {
		return nil, ErrRecordAuth
	}
	return plaintext, nil
}

// checkHeader returns the length of the ciphertext that follows a header.
func checkHeader(h [headerSize]byte) (int, error) {
	n := int(binary.BigEndian.Uint16(h[1:]))
	switch h[0] {
	case typeData:
		if n <= tagSize || n > MaxData+tagSize {
			return 0, ErrRecordSize
		}
	case typeConfirm, typeClose:
		if n != tagSize {
			return 0, ErrRecordSize
		}
	default:
		return 0, ErrProtocol
	}
	return n, nil
}

// buffers holds buffers of [bufferSize] bytes, batches larger ones for the
// records of a large Write.
var (
	buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}
	batches = sync.Pool{New: func() any { return new([batchSize]byte) }}
)

const (
	// bufferSize has room for a record and a confirmation before it.
	bufferSize = Overhead + recordSize

	// batch is the number of records given to the stream at once; while it
	// takes them, the next ones are not sealed. A remainder smaller than a
	// record is sent along with them.
	batch     = 4
	batchSize = Overhead + (batch+1)*recordSize
)
