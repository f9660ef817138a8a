package core

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/bench/report"
)

const note = `
An event is published, and handed to each subscriber, which reads its queue meanwhile not: that is done between batches and not
timed. Ours is an address of a listener that comes or goes, with the change of the node's state under the same lock; a
channel bus is a slice of buffered channels under a mutex, and does nothing else; go-libp2p's is p2p/host/eventbus. Stuck
is a subscriber more, that never reads.

Peers: a node that knows 10,000 others, with the metadata and two addresses each that a discovery usually reports.
`

const (
	batch       = 100 // events before the subscribers read; fewer than a queue holds
	allRounds   = 15
	shortRounds = 3
	roundLength = 20 * time.Millisecond
)

// A bus is something that publishes events to subscribers.
type bus struct {
	name    string
	publish func() // batch events
	drain   func()
	close   func()
}

// ours is a node with subscribers.
func ours(ctx context.Context, name string, subscribers, stuck int) (bus, error) {
	node, scope, err := start(ctx)
	if err != nil {
		return bus{}, err
	}
	where := netip.MustParseAddrPort("192.0.2.1:1")
	publish := func() {
		for range batch / 2 {
			scope.AddAddr(where)
			scope.RemoveAddr(where)
		}
	}
	var readers []*p2p.Subscription
	for range subscribers {
		readers = append(readers, node.Subscribe())
	}
	for range stuck {
		node.Subscribe()
	}
	drain := func() {
		for _, r := range readers {
			for len(r.C) > 0 {
				<-r.C
			}
		}
	}
	b := bus{name, publish, drain, func() { node.Shutdown(ctx) }}
	for range 100 { // so that who is stuck is
		publish()
		drain()
	}
	return b, nil
}

// channels is the least that a bus can be.
func channels(subscribers int) bus {
	var mu sync.Mutex
	queues := make([]chan any, subscribers)
	for i := range queues {
		queues[i] = make(chan any, 2*batch)
	}
	where := netip.MustParseAddrPort("192.0.2.1:1")
	return bus{"channels", func() {
		for range batch {
			mu.Lock()
			var e any = p2p.ListenerAddrAdded{Listener: "bench", Addr: where}
			for _, q := range queues {
				select {
				case q <- e:
				default:
				}
			}
			mu.Unlock()
		}
	}, func() {
		for _, q := range queues {
			for len(q) > 0 {
				<-q
			}
		}
	}, func() {}}
}

// libp2p is the event bus of go-libp2p.
func libp2p(subscribers int) (bus, error) {
	b := eventbus.NewBus()
	emitter, err := b.Emitter(new(p2p.ListenerAddrAdded))
	if err != nil {
		return bus{}, err
	}
	var subs []event.Subscription
	for range subscribers {
		s, err := b.Subscribe(new(p2p.ListenerAddrAdded), eventbus.BufSize(2*batch))
		if err != nil {
			return bus{}, err
		}
		subs = append(subs, s)
	}
	where := netip.MustParseAddrPort("192.0.2.1:1")
	return bus{"go-libp2p", func() {
		for range batch {
			emitter.Emit(p2p.ListenerAddrAdded{Listener: "bench", Addr: where})
		}
	}, func() {
		for _, s := range subs {
			for len(s.Out()) > 0 {
				<-s.Out()
			}
		}
	}, func() {
		for _, s := range subs {
			s.Close()
		}
		emitter.Close()
	}}, nil
}

// race has buses take turns, and returns the nanoseconds that each took for an
// event.
func race(rounds int, buses ...bus) []report.Sample {
	samples := make([]report.Sample, len(buses))
	for range rounds {
		for i, b := range buses {
			var took time.Duration
			n := 0
			for took < roundLength {
				began := time.Now()
				b.publish()
				took += time.Since(began)
				b.drain()
				n += batch
			}
			samples[i] = append(samples[i], float64(took.Nanoseconds())/float64(n))
		}
	}
	return samples
}

func divided(s report.Sample, by int) report.Sample {
	d := make(report.Sample, len(s))
	for i, v := range s {
		d[i] = v / float64(by)
	}
	return d
}

// Compare measures events, and a table of 10,000 peers.
func Compare(ctx context.Context, short bool) (report.Table, error) {
	rounds := allRounds
	if short {
		rounds = shortRounds
	}
	t := report.Table{Title: "Core", Note: note, Columns: report.Columns}
	for _, subscribers := range []int{1, 10, 100} {
		if err := events(ctx, &t, subscribers, rounds); err != nil {
			return t, err
		}
	}
	return t, peers(ctx, &t, rounds)
}

func events(ctx context.Context, t *report.Table, subscribers, rounds int) error {
	node, err := ours(ctx, "ours", subscribers, 0)
	if err != nil {
		return err
	}
	defer node.close()
	stuck, err := ours(ctx, "ours, one stuck", subscribers, 1)
	if err != nil {
		return err
	}
	defer stuck.close()
	others, err := libp2p(subscribers)
	if err != nil {
		return err
	}
	defer others.close()
	samples := race(rounds, node, stuck, channels(subscribers), others)
	what := fmt.Sprintf("an event, for each of %d subscribers", subscribers)
	f := report.Figure{What: what, Unit: "ns", Ours: divided(samples[0], subscribers)}
	for i, peer := range []string{"channels", "go-libp2p"} {
		f.Peer, f.Theirs = peer, divided(samples[2+i], subscribers)
		t.Add(f)
	}
	if f.Peer, f.Theirs = "", nil; subscribers == 10 {
		f.Goal = 60
		t.Add(f)
	}
	t.Add(report.Figure{
		What: what + ": one more is stuck", Unit: "ns", Peer: "none is stuck",
		Ours: divided(samples[1], subscribers), Theirs: divided(samples[0], subscribers), Ratio: stuckRatio(subscribers),
	})
	t.Add(report.Figure{What: "… allocations, with the event itself", Ours: report.Sample{testing.AllocsPerRun(20, func() {
		node.publish()
		node.drain()
	}) / batch}, Goal: 1})
	return nil
}

// stuckRatio is the goal for a subscriber that is stuck: 10 % of the time for
// 10 that are not.
func stuckRatio(subscribers int) float64 {
	if subscribers == 10 {
		return 1.1
	}
	return 0
}

func peers(ctx context.Context, t *report.Table, rounds int) error {
	const known = 10_000
	var m measured
	for range max(5, rounds/3) {
		one, err := measure(ctx, known)
		if err != nil {
			return err
		}
		m.add(one)
	}
	t.Add(report.Figure{What: "10,000 known peers: heap for each", Unit: "bytes", Ours: m.heap, Goal: 4096})
	t.Add(report.Figure{What: "… a snapshot of all", Unit: "µs", Ours: m.snapshot, Goal: 1000})
	t.Add(report.Figure{What: "… one more is discovered", Unit: "µs", Digits: 2, Ours: m.discover, Goal: 5})
	t.Add(report.Figure{What: "… and expires", Unit: "µs", Digits: 2, Ours: m.expire, Goal: 5})
	return nil
}
