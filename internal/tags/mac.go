package tags

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"

	"github.com/sdp2p/p2p/identity"
)

// stateSize is the length of a SHA-256 state as marshaled by package sha256.
const stateSize = 108

// A mac is HMAC-SHA256 (RFC 2104) under one key, as the two states after
// hashing the key's blocks. That halves the work for a message, and avoids
// allocations. Nothing can be precomputed for an epoch, since it fills no
// block.
type mac struct{ inner, outer [stateSize]byte }

func newMAC(key [sha256.Size]byte) (m mac) {
	for _, half := range []struct {
		pad   byte
		state *[stateSize]byte
	}{{0x36, &m.inner}, {0x5c, &m.outer}} {
		var block [sha256.BlockSize]byte
		copy(block[:], key[:])
		for i := range block {
			block[i] ^= half.pad
		}
		h := sha256.New()
		h.Write(block[:])
		b, err := h.(encoding.BinaryMarshaler).MarshalBinary()
		if err != nil || len(b) != stateSize {
			panic("tags: SHA-256 has another state") // package sha256 promises to accept it
		}
		copy(half.state[:], b)
	}
	return m
}

// A hasher computes tags. It must not be used concurrently.
type hasher struct {
	h interface {
		hash.Hash
		encoding.BinaryUnmarshaler
	}
	message [8 + identity.Size]byte
	sum     [sha256.Size]byte
}

func newHasher(key identity.RemoteIdentity) *hasher {
	t := &hasher{}
	t.h = sha256.New().(interface {
		hash.Hash
		encoding.BinaryUnmarshaler
	})
	k := key.Bytes()
	copy(t.message[8:], k[:])
	return t
}

// tag returns the tag under a mac for an epoch and the hasher's key.
func (t *hasher) tag(m *mac, epoch uint64) Tag {
	binary.BigEndian.PutUint64(t.message[:], epoch)
	t.load(&m.inner)
	t.h.Write(t.message[:])
	t.h.Sum(t.sum[:0])
	t.load(&m.outer)
	t.h.Write(t.sum[:])
	t.h.Sum(t.sum[:0])
	return Tag(t.sum[:Size])
}

func (t *hasher) load(state *[stateSize]byte) {
	if err := t.h.UnmarshalBinary(state[:]); err != nil {
		panic("tags: " + err.Error()) // it was marshaled by the same package
	}
}
