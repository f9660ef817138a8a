package block

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A long list is stored in a file and read back unchanged, from any entry on.
func TestSpool(t *testing.T) {
	t.Parallel()
	const n = 6_000
	for _, limit := range []int{spoolAt, 100 << 20} {
		path := filepath.Join(t.TempDir(), "spool")
		s := spool{limit: limit, create: func() (*os.File, error) { return os.Create(path) }, remove: func(name string) { os.Remove(name) }}
		for i := range n {
			e := file(strings.Repeat("x", 800), int64(i))
			b, err := s.add(&e)
			require.NoError(t, err)
			require.Len(t, b, 803+46)
		}
		require.Equal(t, limit == spoolAt, s.file != nil)
		require.LessOrEqual(t, cap(s.memory), 2*limit)
		for _, from := range []int{0, 1, 63, 64, 65, 4095, n - 1, n} {
			c := s.entries(from, n)
			for i := from; c.next(); i++ {
				require.Equal(t, i, c.index)
				require.EqualValues(t, i, c.size)
			}
			require.NoError(t, c.err)
			require.Equal(t, n-1, c.index)
		}
		e, err := s.at(4321)
		require.NoError(t, err)
		require.EqualValues(t, 4321, e.size)
		c := s.entries(100, 200)
		for c.next() {
		}
		require.Equal(t, 199, c.index)
		s.close()
		require.NoFileExists(t, path)
	}
}
