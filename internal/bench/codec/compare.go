package codec

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sdp2p/p2p/internal/bench/race"
	"github.com/sdp2p/p2p/internal/bench/report"
)

const (
	allRounds   = 25
	shortRounds = 3
	roundLength = 30 * time.Millisecond
	shortLength = 10 * time.Millisecond
)

const note = `
A request for a number of files is encoded, and decoded again into a new message, by package proto, by tinylib/msgp in each of
the ways that it offers, and by other codecs, each as its documentation advises for speed. The last way of msgp, vtprotobuf,
protobuf, cbor and json have the whole message in memory; the others decode from a stream, as proto does. gob writes message
after message to one stream: its types, which only the first of them brings, are not counted. vtprotobuf uses neither its pools
nor strings that stay in the buffer. The codecs take turns, a round of 30 ms each.
`

// Compare measures every codec on requests for few and for many files.
func Compare(ctx context.Context, short bool) (report.Table, error) {
	r := race.Race{Rounds: allRounds, Length: roundLength}
	if short {
		r = race.Race{Rounds: shortRounds, Length: shortLength}
	}
	t := report.Table{Title: "Codec", Note: note, Columns: report.Columns}
	for _, files := range []int{3, maxFiles} {
		if err := compare(ctx, &t, files, r); err != nil {
			return t, err
		}
	}
	return t, nil
}

// measured is what was measured of one codec. What was not is empty.
type measured struct {
	encode, both, size, allocs report.Sample
}

// compare measures every codec on a request for so many files, and adds what came of it to the table.
func compare(ctx context.Context, t *report.Table, files int, r race.Race) error {
	m := Sample(files)
	closely := Codecs(m)
	codecs := append(closely, Others(m)...)
	var encode, both []race.Contender
	for i, c := range codecs {
		both = append(both, race.Repeat(c.Name(), c.RoundTrip))
		if i < len(closely) {
			encode = append(encode, race.Repeat(c.Name(), c.Encode))
		}
	}
	results := make([]measured, len(codecs))
	samples, err := r.Run(ctx, both...)
	if err != nil {
		return err
	}
	for i, c := range codecs {
		results[i].both = samples[i]
		results[i].size = report.Sample{float64(c.Size())}
	}
	r.Length /= 4
	if samples, err = r.Run(ctx, encode...); err != nil {
		return err
	}
	for i, c := range closely {
		results[i].encode = samples[i]
		results[i].allocs = report.Sample{testing.AllocsPerRun(100, func() { err = c.RoundTrip() })}
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	ours := results[0]
	for _, row := range []struct {
		what, unit string
		of         func(measured) report.Sample
		goal       float64 // against msgp where it decodes from a stream
	}{
		{"encode and decode", "ns", func(m measured) report.Sample { return m.both }, 0.75},
		{"encode", "ns", func(m measured) report.Sample { return m.encode }, 0},
		{"allocations to encode and decode", "", func(m measured) report.Sample { return m.allocs }, 0},
		{"size", "bytes", func(m measured) report.Sample { return m.size }, 0},
	} {
		for i, c := range codecs[1:] {
			theirs := row.of(results[i+1])
			if len(theirs) == 0 {
				continue
			}
			f := report.Figure{
				What: fmt.Sprintf("%d files: %s", files, row.what), Unit: row.unit,
				Peer: c.Name(), Theirs: theirs, Ours: row.of(ours),
			}
			switch c.(type) {
			case *msgpCodec, *msgpStream:
				f.Ratio = row.goal
			}
			t.Add(f)
		}
	}
	return nil
}
