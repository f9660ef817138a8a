package library_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

func TestSign(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := pair(t, network)
		id, by := a.lib.ID(), a.lib.Instance()
		s := a.lib.Sign("note", []byte("text"))
		require.True(t, library.Verify(id, by, "note", []byte("text"), s))
		require.False(t, library.Verify(uuid.New(), by, "note", []byte("text"), s))
		require.False(t, library.Verify(id, b.lib.Instance(), "note", []byte("text"), s))
		require.False(t, library.Verify(id, by, "notet", []byte("ext"), s))
		require.False(t, library.Verify(id, by, "note", []byte("text."), s))
		s[3] ^= 1
		require.False(t, library.Verify(id, by, "note", []byte("text"), s))
	})
}

// TestPurposeTooLong: a purpose that is too long for its length field could be
// mistaken for another message.
func TestPurposeTooLong(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice()
		a.start(t, network, p2p.Config{})
		a.found(t, library.RecoveryKey{})
		long := strings.Repeat("x", 256)
		require.Panics(t, func() { a.lib.Sign(long, nil) })
		s := a.lib.Sign("", []byte(long))
		require.True(t, library.Verify(a.lib.ID(), a.own(), "", []byte(long), s))
		require.False(t, library.Verify(a.lib.ID(), a.own(), long, nil, s))
	})
}
