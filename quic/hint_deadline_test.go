package quic

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A deadline ends a wait at its time, and can be moved during the wait.
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
		d.set(time.Time{}) // no deadline
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
		early.set(time.Unix(1, 0)) // set before the wait begins
		<-early.passed()
	})
}
