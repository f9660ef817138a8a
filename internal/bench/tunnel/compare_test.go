package tunnel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/report"
)

func TestFigures(t *testing.T) {
	var table report.Table
	addTimes(&table, report.Figure{What: "it", Peer: "p", Ours: report.Sample{recordData}, Theirs: report.Sample{recordData / 2}, Ratio: recordRatio})
	require.Equal(t, [][]string{
		{"it", "p", "16384 ns", "32768 ns", "2.00", "ratio ≤ 1.11", "no"},
		{"… as a speed", "p", "2000 MB/s", "1000 MB/s", "0.50", "–", "–"},
	}, table.Rows)
}
