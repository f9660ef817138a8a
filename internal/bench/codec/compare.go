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
nor strings that stay in the buffer. The codecs take turns, a round of 30 ms each: proto with msgp, and once more with all others. "Generated" is proto with the code that protogen writes,
in turns with the same by hand and with msgp.
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
		if err := compareGenerated(ctx, &t, files, r); err != nil {
			return t, err
		}
	}
	return t, nil
}

// measured is what was measured of one codec. What was not is empty.
type measured struct {
	codec                      Codec
	encode, both, size, allocs report.Sample
}

// compare measures every codec on a request for so many files, and adds what
// came of it to the table. proto takes turns with msgp alone, and once more
// with the others: what a codec allocates is there for the next one to find.
func compare(ctx context.Context, t *report.Table, files int, r race.Race) error {
	m := Sample(files)
	closely, err := together(ctx, Codecs(m), r)
	if err != nil {
		return err
	}
	if err := further(ctx, closely, r); err != nil {
		return err
	}
	others, err := together(ctx, append(Codecs(m)[:1], Others(m)...), r)
	if err != nil {
		return err
	}
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
		for _, group := range [][]measured{closely, others} {
			for _, peer := range group[1:] {
				f := report.Figure{
					What: fmt.Sprintf("%d files: %s", files, row.what), Unit: row.unit,
					Peer: peer.codec.Name(), Theirs: row.of(peer), Ours: row.of(group[0]),
				}
				if len(f.Theirs) == 0 {
					continue
				}
				switch peer.codec.(type) {
				case *msgpCodec, *msgpStream:
					f.Ratio = row.goal
				}
				t.Add(f)
			}
		}
	}
	return nil
}

// together has codecs take turns to encode and decode.
func together(ctx context.Context, codecs []Codec, r race.Race) (all []measured, err error) {
	var contenders []race.Contender
	for _, c := range codecs {
		contenders = append(contenders, race.Repeat(c.Name(), c.RoundTrip))
	}
	samples, err := r.Run(ctx, contenders...)
	if err != nil {
		return nil, err
	}
	for i, c := range codecs {
		all = append(all, measured{codec: c, both: samples[i], size: report.Sample{float64(c.Size())}})
	}
	return all, nil
}

// further measures what is not of interest of all.
func further(ctx context.Context, of []measured, r race.Race) error {
	var contenders []race.Contender
	for _, m := range of {
		contenders = append(contenders, race.Repeat(m.codec.Name(), m.codec.Encode))
	}
	r.Length /= 4
	samples, err := r.Run(ctx, contenders...)
	if err != nil {
		return err
	}
	for i := range of {
		c := of[i].codec
		of[i].encode = samples[i]
		of[i].allocs = report.Sample{testing.AllocsPerRun(100, func() { err = c.RoundTrip() })}
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	return nil
}
