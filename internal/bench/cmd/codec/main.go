// Command codec measures how long the SDK's package proto takes to encode a request and decode it again, against
// tinylib/msgp, and prints both times and their ratio.
//
// The codecs take turns, a round each, so that a noisy machine is noisy for all of them. The times are medians of the
// rounds, and the ratio is the median of each round's own.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/sdp2p/p2p/internal/bench/codec"
)

func main() {
	rounds := flag.Int("rounds", 25, "rounds of each codec")
	length := flag.Duration("time", 40*time.Millisecond, "length of a round")
	flag.Parse()
	if *rounds < 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	fmt.Printf("%s %s/%s, %d CPUs, medians of %d rounds of %v\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), *rounds, *length)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "files\tcodec\tbytes\tencode ns\tdecode ns\tboth ns\tencode allocs\tdecode allocs\tproto ÷ it")
	for _, files := range []int{3, 255} {
		if err := compare(w, files, *rounds, *length); err != nil {
			fmt.Fprintln(os.Stderr, "codec:", err)
			os.Exit(1)
		}
	}
	w.Flush()
}

// compare measures every codec on a request for so many files, and prints a line for each.
func compare(w *tabwriter.Writer, files, rounds int, length time.Duration) error {
	m := codec.Sample(files)
	codecs := codec.Codecs()
	encode := make([][]float64, len(codecs))
	both := make([][]float64, len(codecs))
	for _, c := range codecs { // once, to see that it works and to warm up
		if err := c.RoundTrip(m); err != nil {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	for range rounds {
		for i, c := range codecs {
			encode[i] = append(encode[i], measure(length/4, func() { c.Encode(m) }))
			both[i] = append(both[i], measure(length, func() { c.RoundTrip(m) }))
		}
	}
	for i, c := range codecs {
		ratios := make([]float64, rounds)
		for r := range ratios {
			ratios[r] = both[0][r] / both[i][r]
		}
		enc, all := median(encode[i]), median(both[i])
		encAllocs := testing.AllocsPerRun(100, func() { c.Encode(m) })
		allAllocs := testing.AllocsPerRun(100, func() { c.RoundTrip(m) })
		fmt.Fprintf(w, "%d\t%s\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\n",
			files, c.Name(), c.Size(), enc, all-enc, all, encAllocs, allAllocs-encAllocs, median(ratios))
	}
	return nil
}

// measure calls f for about so long and returns the nanoseconds of a call.
func measure(length time.Duration, f func()) float64 {
	runtime.GC()
	for n := 16; ; n *= 2 {
		start := time.Now()
		for range n {
			f()
		}
		if took := time.Since(start); took >= length/2 {
			return float64(took.Nanoseconds()) / float64(n)
		}
	}
}

// median returns the median of v.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
