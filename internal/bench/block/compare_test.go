package block

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/report"
)

// A quick comparison yields a value for each of its rows.
func TestCompare(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	table, err := Compare(t.Context(), true)
	require.NoError(t, err)
	require.NotContains(t, table.Note, "%!")
	for _, row := range table.Rows {
		require.Len(t, row, len(report.Columns))
		require.NotContains(t, row[3], report.NotMeasured, row[0])
	}
}
