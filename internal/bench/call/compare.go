// Package call measures calls (package call of the SDK) beside those of
// gRPC-go, which run in a stream of the same connection.
package call

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/sdp2p/p2p/internal/bench/race"
	"github.com/sdp2p/p2p/internal/bench/report"
)

const note = `
Calls of 100 bytes that are answered by 1 KiB, over QUIC on loopback, both ends in this process. Ours opens a stream of
the connection for each call; gRPC-go has one stream, and HTTP/2 in it. Its messages are protobuf's BytesValue. A
sequence is 100 answers of 1 KiB to one call. The context of each call can end. Allocations are those of both sides,
with QUIC, on average.
`

const (
	peerName    = "gRPC-go"
	allRounds   = 25
	shortRounds = 3
	roundLength = 250 * time.Millisecond
	timeout     = 5 * time.Minute
)

// Compare measures calls.
func Compare(ctx context.Context, short bool) (report.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	rounds := allRounds
	if short {
		rounds = shortRounds
	}
	t := report.Table{Title: "Calls", Note: note, Columns: report.Columns}
	p, err := newPair(ctx)
	if err != nil {
		return t, err
	}
	defer p.close()
	for _, what := range []struct {
		name         string
		atOnce       int
		ours, theirs func(context.Context) error
	}{
		{"a call", 1, p.do, p.grpc.do},
		{"40 calls at once", 40, p.do, p.grpc.do},
		{"a sequence of 100 answers", 1, p.receive, p.grpc.receive},
	} {
		ours := func() error { return atOnce(ctx, what.atOnce, what.ours) }
		theirs := func() error { return atOnce(ctx, what.atOnce, what.theirs) }
		wall, cpu, err := race.Race{Rounds: rounds, Length: roundLength}.RunCPU(ctx, race.Repeat("call", ours), race.Repeat(peerName, theirs))
		if err != nil {
			return t, fmt.Errorf("%s: %w", what.name, err)
		}
		f := report.Figure{What: what.name, Unit: "µs", Peer: peerName, Ours: wall[0].Scaled(1e-3), Theirs: wall[1].Scaled(1e-3)}
		t.Add(f)
		f.What, f.Ours, f.Theirs = "… CPU of both sides", cpu[0].Scaled(1e-3), cpu[1].Scaled(1e-3)
		t.Add(f)
		f.What, f.Unit = "… allocations of both sides", ""
		f.Ours, f.Theirs = allocations(ours), allocations(theirs)
		t.Add(f)
	}
	return t, nil
}

// allocations returns how often both sides allocate.
func allocations(do func() error) report.Sample {
	const times = 200
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		if do() != nil {
			return nil // not measured
		}
	}
	runtime.ReadMemStats(&after)
	return report.Sample{float64((after.Mallocs - before.Mallocs) / times)}
}

// atOnce does something n times at once.
func atOnce(ctx context.Context, n int, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if n == 1 {
		return do(ctx)
	}
	var all sync.WaitGroup
	failed := make(chan error, n)
	for range n {
		all.Go(func() {
			if err := do(ctx); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	close(failed)
	return <-failed
}
