package block

import (
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWatch(t *testing.T) {
	var kept []byte
	p, err := watch(func() error {
		kept = make([]byte, 16<<20)
		runtime.GC()
		kept = make([]byte, 8<<20)
		return nil
	})
	require.NoError(t, err)
	require.InDelta(t, 20<<20, p.Heap, 5<<20) // including garbage, unless it was collected already
	require.InDelta(t, 16<<20, p.Live, 1<<20)
	runtime.KeepAlive(kept)
	_, err = watch(func() error { return io.ErrClosedPipe })
	require.Equal(t, io.ErrClosedPipe, err)
}
