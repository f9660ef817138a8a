package block

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The receiver reports progress even while it still hashes the data that it has
// of a file.
func TestProgressBeforeAnswer(t *testing.T) {
	dir := t.TempDir()
	source := func() []Source {
		return []Source{slowly(&wantedFile{path: "top/a", size: 1000}, &wantedFile{path: "top/b", size: 8 * piece})}
	}
	synctest.Test(t, func(t *testing.T) {
		m := play(t, dir, source(), 2, ReceiveOptions{}, func(m *match) { m.here.after = 5 * piece })
		require.Error(t, m.err)
		opts := ReceiveOptions{faults: func(op, _ string) error {
			if op == "read" {
				time.Sleep(150 * time.Millisecond)
			}
			return nil
		}}
		m = play(t, dir, source(), 2, opts, nil)
		require.NoError(t, m.sendErr)
		require.NoError(t, m.err)
		require.Positive(t, m.received.Resumed)
		require.Positive(t, m.here.referee.seen["receiver deciding 12"])
	})
}
