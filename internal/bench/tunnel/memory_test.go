package tunnel

import (
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMemory()
		n, err := a.Write([]byte("something"))
		require.NoError(t, err)
		require.Equal(t, 9, n)
		got := make([]byte, 4)
		for _, want := range []string{"some", "thin", "g"} {
			n, err := b.Read(got)
			require.NoError(t, err)
			require.Equal(t, want, string(got[:n]))
		}
		began := time.Now()
		require.NoError(t, b.SetDeadline(began.Add(time.Minute)))
		_, err = b.Read(got)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))
		require.NoError(t, b.SetDeadline(time.Time{}))
		go func() {
			time.Sleep(time.Hour)
			a.Close()
		}()
		_, err = b.Read(got)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, time.Minute+time.Hour, time.Since(began))
		_, err = b.Write(got)
		require.Error(t, err)
	})
}
