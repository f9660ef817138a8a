package quic

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
	drop := &p2p.ResetError{Code: p2p.ErrCancelled, Remote: true}
	synctest.Test(t, func(t *testing.T) {
		began, tries := time.Now(), 0
		err := insist(t.Context(), func() error { tries++; return drop })
		require.Equal(t, insistTime, time.Since(began))
		require.ErrorIs(t, err, p2p.ErrBusy)
		require.ErrorIs(t, err, drop)
		require.Greater(t, tries, 40)
		require.Less(t, tries, 60)

		began, tries = time.Now(), 0
		require.NoError(t, insist(t.Context(), func() error {
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
		require.ErrorIs(t, insist(ctx, func() error { return io.ErrUnexpectedEOF }), cause)
		require.Equal(t, time.Second, time.Since(began))

		for _, err := range []error{
			errClaim, multistream.ErrNotSupported, errLost, context.DeadlineExceeded, &p2p.ResetError{Code: p2p.ErrRefused, Remote: true},
			&p2p.ResetError{Code: p2p.ErrCancelled},
		} {
			tries = 0
			require.Equal(t, err, insist(t.Context(), func() error { tries++; return err }))
			require.Equal(t, 1, tries, err)
		}
	})
}

// A deadline ends waiting at its time, and can be moved while somebody waits.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadline
		is := func(want bool) {
			t.Helper()
			synctest.Wait()
			select {
			case <-d.passed():
				require.True(t, want)
			default:
				require.False(t, want)
			}
			require.Equal(t, want, d.over())
		}
		_, ok := d.get()
		require.False(t, ok)
		is(false)
		waited := make(chan time.Duration, 1)
		wait := func() {
			began, passed := time.Now(), d.passed()
			go func() { <-passed; waited <- time.Since(began) }()
		}
		wait()
		d.set(time.Now().Add(time.Hour))
		d.set(time.Now().Add(time.Second)) // sooner
		is(false)
		require.Equal(t, time.Second, <-waited)
		is(true)
		d.set(time.Time{}) // none
		is(false)
		wait()
		d.set(time.Unix(1, 0))
		require.Zero(t, <-waited)
		is(true)
		d.set(time.Now().Add(time.Second))
		is(false)
		wait()
		d.set(time.Now().Add(time.Minute)) // later
		require.Equal(t, time.Minute, <-waited)
		at, ok := d.get()
		require.True(t, ok)
		require.Equal(t, time.Now(), at)

		var early deadline
		early.set(time.Unix(1, 0)) // before anybody waits
		<-early.passed()
	})
}
