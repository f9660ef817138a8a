package library

import (
	"crypto/ed25519"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

const maxPurpose = 255 // the length of which fits in a byte

// Sign signs a message of the app with the key of this device's instance, so
// that members can pass it on: an operation in a log, for example. Purpose, at
// most 255 bytes, says what the message is, so that it cannot be taken for
// another one; Sign panics if it is longer. [Verify] verifies it.
func (l *Library) Sign(purpose string, message []byte) [ed25519.SignatureSize]byte {
	if len(purpose) > maxPurpose {
		panic("library: a purpose of more than 255 bytes")
	}
	return [ed25519.SignatureSize]byte(ed25519.Sign(l.instance.PrivateKey(), appMessage(l.id, purpose, message)))
}

// Verify reports whether an instance of a library has signed a message with
// [Library.Sign]. Whether the instance is a member, or was one then, is for the
// app to decide.
func Verify(library uuid.UUID, instance identity.RemoteIdentity, purpose string, message []byte, signature [ed25519.SignatureSize]byte) bool {
	key := instance.Bytes()
	return !instance.IsZero() && len(purpose) <= maxPurpose && ed25519.Verify(key[:], appMessage(library, purpose, message), signature[:])
}

// appMessage returns the bytes to sign. The prefix distinguishes them from
// everything else that an instance's key signs.
func appMessage(library uuid.UUID, purpose string, message []byte) []byte {
	b := proto.AppendUUID([]byte("sdp2p-app-v1\x00"), library)
	b = append(append(b, byte(len(purpose))), purpose...)
	return append(b, message...)
}
