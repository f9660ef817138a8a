package call

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCompare(t *testing.T) {
	table, err := Compare(t.Context(), true)
	require.NoError(t, err)
	require.Len(t, table.Rows, 9)
	t.Log(table.Markdown())
}
