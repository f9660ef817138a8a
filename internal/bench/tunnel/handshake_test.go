package tunnel

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"github.com/flynn/noise"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/tunnel"
)

func TestHandshakes(t *testing.T) {
	contenders, err := handshakes(t.Context())
	require.NoError(t, err)
	require.Len(t, contenders, limit+1)
	for _, c := range contenders {
		took, err := c.Run(3)
		require.NoError(t, err, c.Name)
		require.Positive(t, took, c.Name)
	}
}

// A side that meets another one has credentials that were never used in a
// handshake.
func TestMeet(t *testing.T) {
	m, err := newMembers()
	require.NoError(t, err)
	before := m.opener
	require.NoError(t, m.handshake(t.Context()))
	require.Same(t, before, m.opener)
	_, err = m.meet(t.Context(), 1)
	require.NoError(t, err)
	require.NotSame(t, before, m.opener)
}

// A side of the comparison does not accept strangers.
func TestHandshakesRefuse(t *testing.T) {
	m, err := newMembers()
	require.NoError(t, err)
	m.initiator = identity.New()
	m.use(m.strangers())
	require.ErrorIs(t, m.handshake(t.Context()), tunnel.ErrHandshake)

	keys := make([]noise.DHKey, 3)
	for i := range keys {
		keys[i], err = noise.DH25519.GenerateKeypair(nil)
		require.NoError(t, err)
	}
	initiator, responder := noiseConfigs(keys[0], keys[1])
	require.NoError(t, noiseHandshake(initiator, responder, keys[0].Public))
	require.ErrorIs(t, noiseHandshake(initiator, responder, keys[2].Public), io.EOF)
	responder.PresharedKey = []byte(strings.Repeat("x", 32))
	require.Error(t, noiseHandshake(initiator, responder, keys[0].Public))

	certificates := make([]tls.Certificate, 3)
	for i := range certificates {
		certificates[i], err = newCertificate()
		require.NoError(t, err)
	}
	a, b, c := certificates[0], certificates[1], certificates[2]
	require.NoError(t, tlsHandshake(t.Context(), tlsConfig(a, b), tlsConfig(b, a)))
	require.ErrorIs(t, tlsHandshake(t.Context(), tlsConfig(a, c), tlsConfig(b, a)), errPeer)
	require.ErrorIs(t, tlsHandshake(t.Context(), tlsConfig(a, b), tlsConfig(b, c)), errPeer)
}
