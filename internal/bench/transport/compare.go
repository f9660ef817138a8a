package transport

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sdp2p/p2p/internal/bench/race"
	"github.com/sdp2p/p2p/internal/bench/report"
)

const note = `
Both ends are in one process and talk over UDP on loopback, and what is compared
takes turns. quic-go has windows of 16 MiB a stream and 32 MiB a connection, and
TLS in which both sides compare the other's certificate. go-libp2p is composed
by hand of what libp2p.New starts with QUIC and no other transport, on the same
quic-go: without limits, and with its default resource manager. /sdp2p/1 is the
protocol of the SDK's first implementation, on the same go-libp2p. The
application is the same for all.

A byte: a stream is opened, a byte is written, the stream closed for writing, and the byte read back, to the end. With 64 openers, 64
goroutines do so over one connection, and what counts is the time for all divided by how many there were.

20 ms: the two ends talk through a proxy that passes each datagram on 10 ms after it came. Round trips are counted by the
proxy, as how many datagrams had to follow each other, whatever the machine's load. A cold connection is one of a node that
has started, and has never connected; go-libp2p's host.Connect waits for its identify protocol. The SDK knows that the peer
speaks version 2 from a discovery, unless it says that the version is unknown.

A flood: somebody who has seen packets of one connection sends others with its
ID, in the same process, as fast as one goroutine can; another connection of the
same listener exchanges a byte every millisecond. What counts is below what 99
of 100 exchanges stay.

An idle connection: so many connections to one listener, each of a node of its own that had started before, in use once, and
then idle. What they keep is what is live after a collection, less what was live before they were made, divided by the number
of ends: two a connection. Peers that a node has got to know by it are part of it. Stacks of goroutines are not heap, and are
given besides.

An idle node is what is live, and how many goroutines run, 2 s after one has
started, less what there was before; Multicast DNS is on the loopback interface.
A start is p2p.Start, or the composition of a go-libp2p, and ends when the node
listens. Without the go.uber.org/fx of libp2p.New, which is not there, go-libp2p
starts sooner and keeps less.

Programs are built with CGO_ENABLED=0 -trimpath -ldflags '-s -w'. examples/hello
has QUIC and Multicast DNS, examples/vault a library and its tunnel too.
go-libp2p's is libp2p.New with QUIC, its Multicast DNS, and a handler that
echoes; it has the quic-go that go-libp2p requires, and not the SDK's.
`

const (
	roundTrip  = 20 * time.Millisecond
	openers    = 64
	concurrent = 200
)

// The goals, as what ours may take of the time that theirs takes, and others.
const (
	streamRatio = 1.05 // 0.95 of the speed
	byteRatio   = 1.25
	coldRatio   = 1.06
	openRatio   = 1.33 // 0.75 of the streams

	connectionHeap = 45 // KiB
	nodeHeap       = 1  // MiB
	nodeGoroutines = 30
	startTime      = 10 // ms
	programSize    = 14 // MiB
	floodDelay     = 2  // ms
)

// A plan is how much is measured.
type plan struct {
	rounds      int           // of contenders that compute
	stream      time.Duration // that a round of streams takes
	byte        time.Duration // that a round of bytes takes
	trips       int           // of those that wait for the proxy, and of nodes that start
	floods      int           // of one connection beside another
	exchanges   int           // of the other in each
	memory      int           // rounds of idle connections and nodes
	connections int           // in each
	settle      time.Duration // until an idle node is one
	programs    bool          // are built, which takes a minute where nothing is cached
}

var (
	whole = plan{
		rounds: 15, stream: 400 * time.Millisecond, byte: 150 * time.Millisecond, trips: 21, floods: 5, exchanges: 300,
		memory: 5, connections: 32, settle: 2 * time.Second, programs: true,
	}
	short = plan{
		rounds: 3, stream: 100 * time.Millisecond, byte: 40 * time.Millisecond, trips: 3, floods: 1, exchanges: 100,
		memory: 1, connections: 4, settle: 500 * time.Millisecond,
	}
)

// Compare measures all that the package is about, and reports a part of it when
// ctx ends.
func Compare(ctx context.Context, quick bool) (report.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	p := whole
	if quick {
		p = short
	}
	t := report.Table{Title: "Transport", Note: note, Columns: report.Columns}
	t.Chart = report.Chart{Name: "transport", Title: "One stream, and a byte there and back"}
	for _, part := range []func(context.Context, *report.Table, plan) error{streams, single, cold, many, flooded, connections, nodes, programs} {
		if err := part(ctx, &t, p); err != nil {
			return t, err
		}
	}
	return t, nil
}

// links starts transports, whose order they keep, and connects them. When ctx
// ends, what waits for an answer fails.
func links(ctx context.Context, delay time.Duration, of ...transport) (all []*link, end func(), err error) {
	closeAll := func() {
		for _, l := range all {
			l.close()
		}
	}
	for _, t := range of {
		l, err := newLink(ctx, t, delay)
		if err == nil {
			all = append(all, l)
			err = exchange(ctx, l.dialer)
		}
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	stop := context.AfterFunc(ctx, func() {
		for _, l := range all {
			l.dialer.close()
		}
	})
	return all, func() { stop(); closeAll() }, nil
}

// add adds a figure for each peer, of which sample 0 is ours. The ratio is for
// quic-go.
func add(t *report.Table, f report.Figure, of []transport, samples []report.Sample) {
	f.Ours = samples[0]
	ratio := f.Ratio
	for i, tr := range of[1:] {
		f.Peer, f.Theirs, f.Ratio = tr.name, samples[i+1], 0
		if i == 0 {
			f.Ratio = ratio
		} else {
			f.Goal, f.Never = 0, false
		}
		t.Add(f)
	}
}

// draw adds a panel of medians to the chart.
func draw(t *report.Table, title string, of []transport, samples []report.Sample) {
	p := report.Panel{Title: title}
	for i, tr := range of {
		p.Names, p.Values = append(p.Names, strings.Replace(tr.name, ", ", "\n", 1)), append(p.Values, samples[i].Median())
	}
	t.Chart.Panels = append(t.Chart.Panels, p)
}

func scaled(samples []report.Sample, by float64) []report.Sample {
	all := make([]report.Sample, len(samples))
	for i, s := range samples {
		all[i] = s.Scaled(by)
	}
	return all
}

// streams measures what one stream carries.
func streams(ctx context.Context, t *report.Table, p plan) error {
	of := []transport{ours(), raw(), hosts()}
	all, end, err := links(ctx, 0, of...)
	if err != nil {
		return err
	}
	defer end()
	contenders := make([]race.Contender, len(of))
	for i, l := range all {
		s, err := openBulk(ctx, l.dialer)
		if err != nil {
			return err
		}
		defer s.Close()
		contenders[i] = race.Contender{Name: of[i].name, Run: func(n int) (time.Duration, error) {
			began := time.Now()
			err := s.send(n * chunk)
			return time.Since(began), err
		}}
	}
	wall, cpu, err := race.Race{Rounds: p.rounds, Length: p.stream}.RunCPU(ctx, contenders...)
	if err != nil {
		return err
	}
	const perGiB = float64(1<<30) / chunk / 1e9
	add(t, report.Figure{What: "send 1 GiB over a stream", Unit: "s", Digits: 2, Ratio: streamRatio}, of, scaled(wall, perGiB))
	speeds := make([]report.Sample, len(wall))
	for i, s := range wall {
		speeds[i] = s.Speeds(chunk)
	}
	add(t, report.Figure{What: "… as a speed", Unit: "MB/s"}, of, speeds)
	draw(t, "one stream, MB/s", of, speeds)
	add(t, report.Figure{What: "… CPU of both ends", Unit: "s", Digits: 2}, of, scaled(cpu, perGiB))
	return nil
}

// single measures what it takes to open a stream and to exchange a byte.
func single(ctx context.Context, t *report.Table, p plan) error {
	of := []transport{ours(), raw(), hosts(), limited(), ancestor(), routed()}
	all, end, err := links(ctx, 0, of...)
	if err != nil {
		return err
	}
	defer end()
	contenders := make([]race.Contender, len(of))
	allocations := make([]report.Sample, len(of))
	for i, l := range all {
		contenders[i] = race.Repeat(of[i].name, func() error { return exchange(ctx, l.dialer) })
	}
	wall, cpu, err := race.Race{Rounds: p.rounds, Length: p.byte}.RunCPU(ctx, contenders...)
	if err != nil {
		return err
	}
	for i, l := range all {
		allocations[i] = report.Sample{testing.AllocsPerRun(1000, func() { err = exchange(ctx, l.dialer) })}
		if err != nil {
			return err
		}
	}
	add(t, report.Figure{What: "open a stream and exchange a byte", Unit: "µs", Digits: 1, Ratio: byteRatio}, of, scaled(wall, 1e-3))
	draw(t, "open a stream, a byte there and back, µs", of[:5], scaled(wall[:5], 1e-3))
	add(t, report.Figure{What: "… CPU of both ends", Unit: "µs", Digits: 1}, of, scaled(cpu, 1e-3))
	add(t, report.Figure{What: "… allocations of both ends"}, of, allocations)
	sent, err := datagrams(ctx, p.rounds, of)
	if err != nil {
		return err
	}
	add(t, report.Figure{What: "… datagrams of both ends", Digits: 1}, of, sent)
	took, trips, err := distant(ctx, p.trips, of, true)
	if err != nil {
		return err
	}
	add(t, report.Figure{What: "… at 20 ms", Unit: "ms", Digits: 1}, of, took)
	add(t, report.Figure{What: "… round trips", Goal: 1}, of, trips)
	return nil
}

// datagrams counts what both ends send for a byte.
func datagrams(ctx context.Context, rounds int, of []transport) ([]report.Sample, error) {
	const each = 50
	all, end, err := links(ctx, time.Microsecond, of...)
	if err != nil {
		return nil, err
	}
	defer end()
	sent := make([]report.Sample, len(of))
	for range rounds {
		for i, l := range all {
			before := l.proxy.Datagrams()
			for range each {
				if err := exchange(ctx, l.dialer); err != nil {
					return nil, fmt.Errorf("%s: %w", of[i].name, err)
				}
			}
			sent[i] = append(sent[i], float64(l.proxy.Datagrams()-before)/each)
		}
	}
	return sent, nil
}

// cold measures what it takes to connect and to get the first byte.
func cold(ctx context.Context, t *report.Table, p plan) error {
	of := []transport{ours(), raw(), hosts(), unknown()}
	took, trips, err := distant(ctx, p.trips, of, false)
	if err != nil {
		return err
	}
	add(t, report.Figure{What: "connect, open a stream and exchange a byte at 20 ms", Unit: "ms", Digits: 1, Ratio: coldRatio}, of[:3], took)
	add(t, report.Figure{What: "… round trips", Goal: 2}, of[:3], trips)
	mine, theirs := []transport{of[3], of[1]}, func(s []report.Sample) []report.Sample { return []report.Sample{s[3], s[1]} }
	add(t, report.Figure{What: "… to a peer whose version is unknown", Unit: "ms", Digits: 1}, mine, theirs(took))
	add(t, report.Figure{What: "… round trips", Goal: 3}, mine, theirs(trips))
	return nil
}

// distant has each transport exchange a byte through a proxy, and returns the
// milliseconds and the round trips until it was back. Where they are not warm,
// it is the first time that the two ends have met.
func distant(ctx context.Context, rounds int, of []transport, warm bool) (took, trips []report.Sample, err error) {
	took, trips = make([]report.Sample, len(of)), make([]report.Sample, len(of))
	all, end, err := links(ctx, roundTrip/2, of...)
	if err != nil {
		return nil, nil, err
	}
	defer end()
	for range rounds {
		for i, l := range all {
			ms, n, err := distantOnce(ctx, l, warm)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", of[i].name, err)
			}
			took[i], trips[i] = append(took[i], ms), append(trips[i], n)
		}
	}
	return took, trips, nil
}

// distantOnce does it once. Nobody else may have come to the proxy since the
// one who is measured did.
func distantOnce(ctx context.Context, l *link, warm bool) (ms, trips float64, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	d := l.dialer
	if !warm {
		if d, err = l.listener.dialer(ctx, l.proxy.Addr()); err != nil {
			return 0, 0, err
		}
		defer d.close()
		defer context.AfterFunc(ctx, d.close)()
	}
	if err := pause(ctx, 2*roundTrip); err != nil { // what was sent last has been acknowledged
		return 0, 0, err
	}
	l.proxy.Reset()
	began := time.Now()
	err = exchangeThen(ctx, d, func() { ms, trips = time.Since(began).Seconds()*1e3, l.proxy.RoundTrips() })
	return ms, trips, err
}

// many measures how fast streams are opened by many at a time, and whether all
// are let in.
func many(ctx context.Context, t *report.Table, p plan) error {
	of := []transport{ours(), raw(), hosts(), limited()}
	all, end, err := links(ctx, 0, of...)
	if err != nil {
		return err
	}
	defer end()
	contenders := make([]race.Contender, len(of))
	for i, l := range all {
		contenders[i] = race.Contender{Name: of[i].name, Run: func(n int) (time.Duration, error) { return exchanges(ctx, l.dialer, n) }}
	}
	wall, cpu, err := race.Race{Rounds: p.rounds, Length: p.byte}.RunCPU(ctx, contenders...)
	if err != nil {
		return err
	}
	add(t, report.Figure{What: "a stream of 64 openers", Unit: "µs", Digits: 1, Ratio: openRatio}, of, scaled(wall, 1e-3))
	persecond := make([]report.Sample, len(wall))
	for i, s := range wall {
		persecond[i] = s.Speeds(1e3) // 1e9 ÷ ns, in thousands
	}
	add(t, report.Figure{What: "… streams a second, in thousands", Digits: 1}, of, persecond)
	add(t, report.Figure{What: "… CPU of both ends", Unit: "µs", Digits: 1}, of, scaled(cpu, 1e-3))
	refused := make([]report.Sample, len(of))
	for i, l := range all {
		refused[i] = report.Sample{float64(refusedOf(ctx, l.dialer, concurrent))}
	}
	add(t, report.Figure{What: fmt.Sprintf("refused of %d concurrent streams", concurrent), Never: true}, of, refused)
	return nil
}

// exchanges does so many exchanges, some at a time.
func exchanges(ctx context.Context, d dialer, n int) (time.Duration, error) {
	began := time.Now()
	errs := make(chan error, openers)
	for i := range openers {
		go func() {
			var err error
			for range n*(i+1)/openers - n*i/openers {
				if err = exchange(ctx, d); err != nil {
					break
				}
			}
			errs <- err
		}()
	}
	var failed error
	for range openers {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return time.Since(began), failed
}

// refusedOf opens so many streams, all at a time, and returns how many of them
// do not work.
func refusedOf(ctx context.Context, d dialer, n int) (refused int) {
	ctx, cancel := within(ctx)
	defer cancel()
	var opening sync.WaitGroup
	opened := make([]*bulkStream, n)
	for i := range opened {
		opening.Go(func() {
			s, err := openBulk(ctx, d)
			if err != nil {
				return
			}
			if s.send(1) != nil {
				s.Close()
				return
			}
			opened[i] = s
		})
	}
	opening.Wait()
	for _, s := range opened {
		if s == nil {
			refused++
			continue
		}
		s.CloseWrite()
		s.Close()
	}
	return refused
}
