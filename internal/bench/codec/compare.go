package codec

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/sdp2p/p2p/internal/bench/report"
)

const (
	allRounds   = 25
	shortRounds = 3
	roundLength = 40 * time.Millisecond
)

const note = `
A request for a number of files is encoded, and decoded again, by package proto and by tinylib/msgp in each of the ways
that it offers. The last of them has the whole message in memory, the others decode from a stream, as proto does. The codecs
take turns, a round of 40 ms each.
`

// Compare measures every codec on requests for few and for many files.
func Compare(short bool) (report.Table, error) {
	rounds := allRounds
	if short {
		rounds = shortRounds
	}
	t := report.Table{Title: "Codec", Note: note, Columns: report.Columns}
	for _, files := range []int{3, maxFiles} {
		if err := compare(&t, files, rounds); err != nil {
			return t, err
		}
	}
	return t, nil
}

// measured is what was measured of one codec.
type measured struct {
	encode, both, size, allocs report.Sample
}

// compare measures every codec on a request for so many files, and adds what came of it to the table.
func compare(t *report.Table, files, rounds int) error {
	m := Sample(files)
	codecs := Codecs()
	results := make([]measured, len(codecs))
	for _, c := range codecs { // once, to see that it works and to warm up
		if err := c.RoundTrip(m); err != nil {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	for range rounds {
		for i, c := range codecs {
			results[i].encode = append(results[i].encode, measure(roundLength/4, func() { c.Encode(m) }))
			results[i].both = append(results[i].both, measure(roundLength, func() { c.RoundTrip(m) }))
		}
	}
	for i, c := range codecs {
		results[i].size = report.Sample{float64(c.Size())}
		results[i].allocs = report.Sample{testing.AllocsPerRun(100, func() { c.RoundTrip(m) })}
	}
	ours := results[0]
	for _, row := range []struct {
		what, unit string
		of         func(measured) report.Sample
		goal       float64 // against codecs that decode from a stream
	}{
		{"encode and decode", "ns", func(m measured) report.Sample { return m.both }, 0.75},
		{"encode", "ns", func(m measured) report.Sample { return m.encode }, 0},
		{"allocations to encode and decode", "", func(m measured) report.Sample { return m.allocs }, 0},
		{"size", "bytes", func(m measured) report.Sample { return m.size }, 0},
	} {
		for i, theirs := range results[1:] {
			c := codecs[i+1]
			f := report.Figure{
				What: fmt.Sprintf("%d files: %s", files, row.what), Unit: row.unit,
				Peer: c.Name(), Theirs: row.of(theirs), Ours: row.of(ours),
			}
			if _, memory := c.(*msgpBytes); !memory {
				f.Ratio = row.goal
			}
			t.Add(f)
		}
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
