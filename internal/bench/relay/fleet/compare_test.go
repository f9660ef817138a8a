package fleet

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The comparison runs, with measured costs.
func TestCompare(t *testing.T) {
	table, err := Compare(t.Context(), true)
	require.NoError(t, err)
	require.Len(t, table.Rows, 5)
	for _, row := range table.Rows {
		require.Len(t, row, len(table.Columns))
	}
	require.Len(t, table.Plots, 1)
	require.NoError(t, table.Plots[0].Save(filepath.Join(t.TempDir(), "plot.svg")))
	t.Log(table.Markdown())
}
