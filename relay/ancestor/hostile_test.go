package ancestor

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-yamux/v5"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A peer that opens silent streams, or sends another peer's identity or
// malformed messages, loses each stream as soon as that is noticed.
func TestHostileStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, lb := alone(t, p2p.HandlerFunc(func(context.Context, *p2p.Stream) error {
			t.Error("served")
			return nil
		}))
		liar := identity.New()
		s, err := newSecurity(liar)
		require.NoError(t, err)
		connect := func() *yamux.Session {
			x, y := circuits(liar.Remote(), b.Identity())
			taken := make(chan error, 1)
			go func() { taken <- taker{lb}.Take(t.Context(), y) }()
			session, err := s.secure(t.Context(), x, false)
			require.NoError(t, err)
			require.NoError(t, <-taken)
			return session
		}
		const q = "\x13/multistream/1.0.0\n\x09/sdp2p/1\n"
		victim := identity.New().Remote().Bytes()
		for said, within := range map[string]time.Duration{
			"":         firstFrame,
			q:          firstFrame,
			q + "\x07": 0,
			q + "\x00" + string(victim[:]) + "\x01\x00\x00\x00\x00\x00\x00\x00\x80":    0,
			q + "\x00" + string(make([]byte, 32)) + "\xff\xff\xff\xff\xff\xff\xff\xff": 0,
			"no multistream": firstFrame,
		} {
			session := connect()
			stream, err := session.OpenStream(t.Context())
			require.NoError(t, err)
			_, err = io.WriteString(stream, said)
			require.NoError(t, err)
			began := time.Now()
			_, err = io.Copy(io.Discard, stream)
			require.Error(t, err, said)
			require.LessOrEqual(t, time.Since(began), within, said)
			session.Close()
		}
		session := connect()
		for range maxStrange + 8 { // those beyond the limit are refused at once
			_, err := session.OpenStream(t.Context())
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Equal(t, maxStrange, session.NumStreams())
		session.Close()
	})
}
