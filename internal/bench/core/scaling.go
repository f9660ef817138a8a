package core

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/bench/report"
)

const scalingNote = `
What a thing costs, against how many there are. Medians of at least five. An event beside known peers is one of something else, to
one subscriber; with subscribers it is one to all of them.
`

// measured is what a table of peers costs.
type measured struct {
	heap     report.Sample // bytes a peer
	snapshot report.Sample // µs for all
	discover report.Sample // µs for one
	expire   report.Sample
	publish  report.Sample // µs for an event of something else, to one subscriber
}

func (m *measured) add(o measured) {
	m.heap = append(m.heap, o.heap...)
	m.snapshot = append(m.snapshot, o.snapshot...)
	m.discover = append(m.discover, o.discover...)
	m.expire = append(m.expire, o.expire...)
	m.publish = append(m.publish, o.publish...)
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// measure measures a node that knows so many peers, once.
func measure(ctx context.Context, known int) (m measured, err error) {
	before := heap()
	node, scope, err := start(ctx)
	if err != nil {
		return m, err
	}
	defer node.Shutdown(ctx)
	for i := range known {
		metadata, candidates := typical(i)
		if err := scope.Discovered(identity.New().Remote(), metadata, candidates); err != nil {
			return m, err
		}
	}
	m.heap = report.Sample{(heap() - before) / float64(known)}

	sub := node.Subscribe()
	defer sub.Close()
	n := max(1, 20_000/known)
	began := time.Now()
	for range n {
		if len(node.Peers()) != known {
			return m, fmt.Errorf("core: a snapshot of %d peers has another number of them", known)
		}
	}
	m.snapshot = report.Sample{micro(time.Since(began), n)}

	if err := m.events(scope, sub, known); err != nil {
		return m, err
	}
	return m, m.addresses(scope, sub)
}

const times = 2000 // that a change is measured

// events measures the discovery of one more peer, and its end.
func (m *measured) events(scope *p2p.Scope, sub *p2p.Subscription, known int) error {
	id := identity.New().Remote()
	metadata, candidates := typical(known)
	var discover, expire time.Duration
	for range times {
		began := time.Now()
		err := scope.Discovered(id, metadata, candidates)
		discovered := time.Now()
		if err != nil {
			return err
		}
		err = scope.Expired(id)
		expire += time.Since(discovered)
		discover += discovered.Sub(began)
		if err != nil {
			return err
		}
		for len(sub.C) > 0 {
			<-sub.C
		}
	}
	m.discover, m.expire = report.Sample{micro(discover, times)}, report.Sample{micro(expire, times)}
	return nil
}

// addresses measures that the node listens at one more address, and its end.
func (m *measured) addresses(scope *p2p.Scope, sub *p2p.Subscription) error {
	addr := netip.MustParseAddrPort("192.0.2.1:7373")
	var publish time.Duration
	for range times {
		began := time.Now()
		err := errors.Join(scope.AddAddr(addr), scope.RemoveAddr(addr))
		publish += time.Since(began)
		if err != nil {
			return err
		}
		for len(sub.C) > 0 {
			<-sub.C
		}
	}
	m.publish = report.Sample{micro(publish, 2*times)}
	return nil
}

func micro(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }

// Scale measures what grows.
func Scale(ctx context.Context, short bool) (report.Table, error) {
	rounds, most := 5, 100_000
	if short {
		rounds, most = 2, 1000
	}
	t := report.Table{Title: "Scaling of the core", Note: scalingNote, Columns: []string{"what", "number", "heap for each", "a snapshot of all", "one more comes", "it goes", "an event"}}
	plot := report.Plot{Name: "scaling-core", Title: "What a peer or a subscriber costs", X: "how many there are", Y: "µs, or bytes of heap"}
	curves := map[string]*report.Curve{}
	point := func(name string, x int, y float64) {
		if curves[name] == nil {
			curves[name] = &report.Curve{Name: name}
			plot.Curves = append(plot.Curves, curves[name])
		}
		curves[name].X = append(curves[name].X, float64(x))
		curves[name].Y = append(curves[name].Y, y)
	}
	text := func(unit string, v float64) string { return fmt.Sprintf("%.3g %s", v, unit) }
	for known := 10; known <= most; known *= 10 {
		var m measured
		for range rounds {
			one, err := measure(ctx, known)
			if err != nil {
				return t, err
			}
			m.add(one)
		}
		t.Rows = append(t.Rows, []string{"known peers", fmt.Sprint(known),
			fmt.Sprintf("%.0f bytes", m.heap.Median()), text("µs", m.snapshot.Median()), text("µs", m.discover.Median()), text("µs", m.expire.Median()), text("µs", m.publish.Median())})
		point("heap for each peer, bytes", known, m.heap.Median())
		point("snapshot, each peer, µs", known, m.snapshot.Median()/float64(known))
		point("discover a peer, µs", known, m.discover.Median())
		point("expire a peer, µs", known, m.expire.Median())
		point("an event beside so many peers, µs", known, m.publish.Median())
	}
	for subscribers := 1; subscribers <= 1000; subscribers *= 10 {
		before := heap()
		b, err := ours(ctx, "ours", subscribers, 0)
		if err != nil {
			return t, err
		}
		each := (heap() - before) / float64(subscribers)
		sample := divided(race(rounds, b)[0], 1000)
		b.close()
		t.Rows = append(t.Rows, []string{"subscribers", fmt.Sprint(subscribers), fmt.Sprintf("%.0f bytes", each), "–", "–", "–", text("µs", sample.Median())})
		point("an event, each subscriber, µs", subscribers, sample.Median()/float64(subscribers))
	}
	for libraries := 1; libraries <= p2p.MaxLibraries; libraries *= 4 {
		took, err := update(ctx, libraries, rounds)
		if err != nil {
			return t, err
		}
		t.Rows = append(t.Rows, []string{"libraries in the metadata", fmt.Sprint(libraries), "–", "–", text("µs", took.Median()), "–", "–"})
		point("change metadata, each library, µs", libraries, took.Median()/float64(libraries))
	}
	t.Plots = append(t.Plots, plot)
	return t, nil
}

// update measures a change of metadata that has so many libraries.
func update(ctx context.Context, libraries, rounds int) (report.Sample, error) {
	node, _, err := start(ctx)
	if err != nil {
		return nil, err
	}
	defer node.Shutdown(ctx)
	instance := identity.New().Remote().String()
	err = node.UpdateMetadata(func(m map[string]string) {
		for range libraries {
			m[uuid.NewString()] = instance
		}
	})
	if err != nil {
		return nil, err
	}
	var s report.Sample
	for range rounds {
		const times = 1000
		began := time.Now()
		for i := range times {
			if err := node.UpdateMetadata(func(m map[string]string) { m["name"] = fmt.Sprint(i) }); err != nil {
				return nil, err
			}
		}
		s = append(s, micro(time.Since(began), times))
	}
	return s, nil
}
