package intro

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/multistream"
)

// A stream that a version 1 peer drops is opened again, ever less often, for 15
// s.
func TestInsist(t *testing.T) {
	drop := &p2p.ResetError{Code: p2p.ErrCanceled, Remote: true}
	synctest.Test(t, func(t *testing.T) {
		began, tries := time.Now(), 0
		err := Insist(t.Context(), func() error { tries++; return drop })
		require.Equal(t, Patience, time.Since(began))
		require.ErrorIs(t, err, p2p.ErrBusy)
		require.ErrorIs(t, err, drop)
		require.Greater(t, tries, 40)
		require.Less(t, tries, 60)

		began, tries = time.Now(), 0
		require.NoError(t, Insist(t.Context(), func() error {
			if tries++; tries < 4 {
				return io.EOF
			}
			return nil
		}))
		require.Equal(t, 4, tries)
		require.Equal(t, (5+10+20)*time.Millisecond, time.Since(began))

		cause := errors.New("cause")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		began = time.Now()
		require.ErrorIs(t, Insist(ctx, func() error { return io.ErrUnexpectedEOF }), cause)
		require.Equal(t, time.Second, time.Since(began))

		for _, err := range []error{
			ErrClaim, multistream.ErrNotSupported, p2p.ErrConnectionLost, context.DeadlineExceeded, &p2p.ResetError{Code: p2p.ErrRefused, Remote: true},
			&p2p.ResetError{Code: p2p.ErrCanceled},
		} {
			tries = 0
			require.Equal(t, err, Insist(t.Context(), func() error { tries++; return err }))
			require.Equal(t, 1, tries, err)
		}
	})
}
