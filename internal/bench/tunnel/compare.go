package tunnel

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sdp2p/p2p/internal/bench/race"
	"github.com/sdp2p/p2p/internal/bench/report"
)

const note = `
Everything happens in one process, and what is compared takes turns, a round of 40 ms each, or 250 ms over QUIC. One core
means that one processor runs Go (GOMAXPROCS), so that the time is what both sides compute, with the collection of
garbage, and no other core has to be woken.

Records: Write of 32 KiB to a stream that throws them away, and Read of records that were sealed just before, which is not
timed. The cipher is golang.org/x/crypto/chacha20poly1305 on 32 KiB, from memory to memory. Read has to copy a record out
of the stream, which the cipher has only where it says so. The goal is 0.9 of the cipher's speed: 1.11 of its time.

Streams: 256 KiB at a time over one QUIC stream on loopback, both ends in this process, until all is read. The goal is 0.8
of the bare stream's speed: 1.25 of its time. With the cipher at both ends, 32 KiB are sealed and opened at a time, and that is all: so
much slower the cipher alone makes it, where both cores are busy with the bare stream.

Handshakes: over a stream in memory with a buffer, the same for all, until both sides have authenticated each other. The
first is one of two members that never met; again, they have kept what their static keys agree in, which saves two X25519.
A tunnel's is over when the responder returns it, since the initiator has written a byte; the responder has one
credential. The limit is the ten X25519 of IKpsk1 with crypto/ecdh, and nothing else. flynn/noise is IKpsk1 with its own
functions, and a confirmation as ours. crypto/tls is TLS 1.3 with X25519 alone, no tickets, and an Ed25519 certificate on
each side, which the other one compares with the one that it expects. The goal was 350 µs where the limit took 300 µs,
which is 1.17 of the limit on any machine; what became of the 350 µs on this one is a row of its own.

Requests: 100 bytes, and 1 KiB back, as many at once as the row says, over QUIC on loopback, each in a tunnel of its own
or in a stream of a session (package library/session) that is there already.
`

const (
	allRounds    = 25
	shortRounds  = 3
	roundLength  = 40 * time.Millisecond
	streamLength = 250 * time.Millisecond
	timeout      = 5 * time.Minute
)

// The goals, as what ours may take of the time that theirs takes.
const (
	recordRatio    = 1.11 // 0.9 of the speed
	streamRatio    = 1.25 // 0.8 of the speed
	handshakeRatio = 1.17 // 350 µs where the limit takes 300 µs
	handshakeTime  = 350  // µs
)

// Compare measures records, streams and handshakes.
func Compare(ctx context.Context, short bool) (report.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	rounds := allRounds
	if short {
		rounds = shortRounds
	}
	t := report.Table{Title: "Tunnel", Note: note, Columns: report.Columns}
	for _, part := range []func(context.Context, *report.Table, int) error{seal, open, stream, handshake, requests} {
		if err := part(ctx, &t, rounds); err != nil {
			return t, err
		}
	}
	return t, nil
}

func seal(ctx context.Context, t *report.Table, rounds int) error {
	r, err := newRecords(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	samples, err := race.Race{Rounds: rounds, Length: roundLength, Cores: 1}.Run(ctx, race.Repeat("tunnel", r.seal), race.Repeat(cipherName, r.sealBare))
	if err != nil {
		return err
	}
	what := "seal a record of 32 KiB, one core"
	addTimes(t, report.Figure{What: what, Peer: cipherName, Ours: samples[0], Theirs: samples[1], Ratio: recordRatio})
	addAllocations(t, what, testing.AllocsPerRun(1000, func() { err = r.seal() }))
	return err
}

func open(ctx context.Context, t *report.Table, rounds int) error {
	r, err := newRecords(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	samples, err := race.Race{Rounds: rounds, Length: roundLength, Cores: 1}.Run(ctx,
		race.Contender{Name: "tunnel", Run: r.open}, race.Contender{Name: cipherName, Run: r.openBare},
		race.Contender{Name: streamedName, Run: r.openStreamed})
	if err != nil {
		return err
	}
	what := "open a record of 32 KiB, one core"
	addTimes(t, report.Figure{What: what, Peer: cipherName, Ours: samples[0], Theirs: samples[1], Ratio: recordRatio})
	addTimes(t, report.Figure{What: what, Peer: streamedName, Ours: samples[0], Theirs: samples[2]})
	addAllocations(t, "seal and "+what, testing.AllocsPerRun(1000, func() { _, err = r.open(1) }))
	return err
}

// addTimes adds a figure about one record, and the same as a speed.
func addTimes(t *report.Table, f report.Figure) {
	f.Unit = "ns"
	t.Add(f)
	f.What, f.Unit, f.Ratio = "… as a speed", "MB/s", 0
	f.Ours, f.Theirs = f.Ours.Speeds(recordData), f.Theirs.Speeds(recordData)
	t.Add(f)
}

// addAllocations adds how often something allocates, which ought to be never.
func addAllocations(t *report.Table, what string, n float64) {
	t.Add(report.Figure{What: "allocations to " + what, Ours: report.Sample{n}, Never: true})
}

func stream(ctx context.Context, t *report.Table, rounds int) error {
	s, err := newStreams(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	peers := []race.Contender{s.bare.contender(ctx, "bare stream"), s.cipher.contender(ctx, "bare stream, the cipher at both ends")}
	samples, err := race.Race{Rounds: rounds, Length: streamLength}.Run(ctx, append(peers, s.tunnel.contender(ctx, "tunnel"))...)
	if err != nil {
		return err
	}
	ours := samples[len(peers)]
	const perGiB = float64(1<<30) / chunk / 1e9
	for i, p := range peers {
		f := report.Figure{What: "send 1 GiB over a QUIC stream", Unit: "s", Digits: 2, Peer: p.Name}
		if i == 0 {
			f.Ratio = streamRatio
		}
		f.Ours, f.Theirs = ours.Scaled(perGiB), samples[i].Scaled(perGiB)
		t.Add(f)
		f.What, f.Unit, f.Digits, f.Ratio = "… as a speed", "MB/s", 0, 0
		f.Ours, f.Theirs = ours.Speeds(chunk), samples[i].Speeds(chunk)
		t.Add(f)
	}
	return nil
}

func handshake(ctx context.Context, t *report.Table, rounds int) error {
	contenders, err := handshakes(ctx)
	if err != nil {
		return err
	}
	for _, where := range []struct {
		what  string
		cores int
		of    []race.Contender
	}{
		{"CPU of both sides", 1, contenders},
		{"wall time, two cores", 2, contenders[:limit]}, // the limit has but one side
	} {
		samples, err := race.Race{Rounds: rounds, Length: roundLength, Cores: where.cores}.Run(ctx, where.of...)
		if err != nil {
			return err
		}
		for i := range samples {
			samples[i] = samples[i].Scaled(1e-3)
		}
		for ours, which := range []string{first: "first", again: "again"} {
			f := report.Figure{What: fmt.Sprintf("handshake, %s: %s", which, where.what), Unit: "µs", Ours: samples[ours]}
			for peer := again + 1; peer < len(samples); peer++ {
				f.Peer, f.Theirs = contenders[peer].Name, samples[peer]
				if peer == limit {
					f.Ratio = handshakeRatio
				}
				t.Add(f)
			}
			if where.cores == 1 {
				t.Add(report.Figure{What: f.What, Unit: f.Unit, Ours: f.Ours, Goal: handshakeTime})
			}
		}
	}
	return nil
}
