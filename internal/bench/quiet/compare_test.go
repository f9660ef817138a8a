package quiet

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A short measurement yields a row for each number of peers.
func TestCompare(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("switches are counted on Linux")
	}
	before := short
	defer func() { short = before }()
	short = plan{settle: 100 * time.Millisecond, window: 500 * time.Millisecond}
	table, err := Compare(t.Context(), true)
	require.NoError(t, err)
	require.Len(t, table.Rows, 2*len(idles))
}
