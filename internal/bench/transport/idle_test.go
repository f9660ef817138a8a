package transport

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/report"
)

func TestWeigh(t *testing.T) {
	before := weigh()
	kept, stop := make([]byte, 64<<20), make(chan struct{}) // much more than other tests leave behind
	for range 1000 {
		go func() { <-stop }()
	}
	grown := weigh().minus(before)
	require.InDelta(t, 64<<20, grown.heap, 8<<20)
	require.InDelta(t, 1000, grown.goroutines, 100)
	runtime.KeepAlive(kept)
	close(stop)
	var f footprints
	f.add(footprint{heap: 4096, stacks: 2048, goroutines: 6}, 2, 1024)
	require.Equal(t, footprints{report.Sample{2}, report.Sample{1}, report.Sample{3}}, f)
}
