package transport

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/report"
)

func TestWeigh(t *testing.T) {
	before := weigh()
	kept, stop := make([]byte, 1<<20), make(chan struct{})
	go func() { <-stop }()
	grown := weigh().minus(before)
	require.InDelta(t, 1<<20, grown.heap, 1<<17)
	require.EqualValues(t, 1, grown.goroutines)
	runtime.KeepAlive(kept)
	close(stop)
	var f footprints
	f.add(footprint{heap: 4096, stacks: 2048, goroutines: 6}, 2, 1024)
	require.Equal(t, footprints{report.Sample{2}, report.Sample{1}, report.Sample{3}}, f)
}

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
