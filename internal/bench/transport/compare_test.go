package transport

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/report"
)

// The goal applies to the first of the peers; the others are only shown.
func TestAdd(t *testing.T) {
	var table report.Table
	of := []transport{{name: "ours"}, {name: "a"}, {name: "b"}}
	samples := []report.Sample{{2}, {1}, {4}}
	add(&table, report.Figure{What: "it", Ratio: 1.5}, of, samples)
	add(&table, report.Figure{What: "it", Goal: 3}, of, samples)
	require.Equal(t, [][]string{
		{"it", "a", "1", "2", "2.00", "ratio ≤ 1.5", "no"},
		{"it", "b", "4", "2", "0.50", "–", "–"},
		{"it", "a", "1", "2", "2.00", "≤ 3", "yes"},
		{"it", "b", "4", "2", "0.50", "–", "–"},
	}, table.Rows)
}

// Streams that fail are counted, and if all must work, one that fails is an
// error.
func TestRefused(t *testing.T) {
	all, end, err := links(t.Context(), 0, ours())
	require.NoError(t, err)
	defer end()
	require.Zero(t, refusedOf(t.Context(), all[0].dialer, 3))
	for _, n := range []int{1, openers, 2*openers + 1} {
		_, err = exchanges(t.Context(), all[0].dialer, n)
		require.NoError(t, err)
	}
	require.Equal(t, 3, refusedOf(t.Context(), fake{""}, 3))
	_, err = exchanges(t.Context(), fake{""}, 1)
	require.Error(t, err)
}

// A quick comparison yields a value for each of its rows.
func TestCompare(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	table, err := Compare(t.Context(), true)
	require.NoError(t, err)
	for _, row := range table.Rows {
		require.Len(t, row, len(report.Columns))
		if !strings.HasPrefix(row[0], "program") {
			require.NotContains(t, row[3], report.NotMeasured, row[0])
		}
	}
}
